"""Pure functions that turn values of the domain and of geometry into plotly figures."""
