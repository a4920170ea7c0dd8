"""Pure functions from domain and geometry values to plotly figures."""
