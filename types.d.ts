// What the scripts in assets/ work with, for `// @ts-check`: the view and what Dash and Plotly give them. The page does not
// load this file.

/** The ends of an area of interest, then the places of the chosen neurons where not all are. */
type Area = number[];

/** A step of the trail, as callbacks/view/steps.py has it. */
interface Step {
  layer: string;
  map: number | null;
  area: Area | null;
  source: string;
  maps: number[];
  replacement: string;
  parent: number;
  note: string;
  on: string;
}

/** What the page shows, as callbacks/view/state.py has it. */
interface View {
  example: string | null;
  target: string | null;
  method: string | null;
  share: number | null;
  compared: string[];
  question: string;
  plot: string;
  distance: string;
  gap: string;
  folds: string[];
  pinned: string[];
  layer: string | null;
  map: number | null;
  area: Area | null;
  pair: string;
  cause: string;
  how: string;
  against: string;
  sort: string;
  keep: string;
  cells: string;
  faces: string;
  look: string;
  best: string;
  on: string;
  maps: number[];
  replacement: string;
  steps: Step[];
  at: number;
  margins: number[] | null;
  scores: number[] | null;
  beside: string;
}

/** What an answer changes of the view (`changes` of callbacks/view/state.py). */
interface Change {
  of: string | null;
  since: number;
  was: Partial<View>;
  fields: Partial<View>;
  then: Record<string, unknown>;
}

/** What the page tells of the view's fields (`FIELDS` of callbacks/view/state.py, `CHOICES` of callbacks/view/browser.py). */
interface Own {
  method: string;
  share: number;
  belongs: Record<string, string[]>;
  fresh: Partial<View>;
  plain: Partial<View>;
  choices: Record<string, string>;
  scores: number[];
}

/** Properties of components by "id.property", which the view does not hold. */
type Page = Record<string, any>;

/** A graph that Plotly has made. */
type Graph = HTMLElement & Record<string, any>;

interface Window {
  /** Dash's own functions, and by their names those of each script. */
  dash_clientside: Record<string, any>;
  dash_component_api: { getLayout(id: string): { props: Record<string, any> } | undefined };
  Plotly: any;
}

// What a selector finds, and what an event came from, only the page knows.
interface ParentNode {
  querySelector(selectors: string): any;
  querySelectorAll(selectors: string): NodeListOf<any>;
}
interface EventTarget {
  id: any;
  value: any;
  tagName: any;
  closest(selectors: string): any;
}
