// The messages of the API that the page uses, in their JSON form: 64-bit numbers are strings, what is empty is absent.

export interface Selection {
  query: string;
  startUnixNano: string;
  endUnixNano: string;
}

export interface Level {
  values?: string[];
}

/** Levels of nodes, four numbers each: offset, total, self, name. */
export interface FlameGraph {
  names?: string[];
  levels?: Level[];
  total?: string;
  maxSelf?: string;
}

/** Levels of nodes, seven numbers each: offset, total and self of either side, name. */
export interface FlameGraphDiff extends FlameGraph {
  leftTicks?: string;
  rightTicks?: string;
}

/** How far the server is with a question. */
export interface Progress {
  running?: boolean;
  segments?: string;
  segmentsDone?: string;
  rows?: string;
}

export interface DamagedSegment {
  segment: string;
  error: string;
}

export interface QueryReport {
  segmentsTotal?: string;
  segmentsRead?: string;
  rowsRead?: string;
  bytesRead?: string;
  profilesRead?: string;
  rollupRows?: string;
  damaged?: DamagedSegment[];
  widened?: { startUnixNano?: string; endUnixNano?: string };
}

export interface MergeResponse {
  flameGraph?: FlameGraph;
  pprof?: string;
  folded?: string;
  report?: QueryReport;
}

export interface DiffResponse {
  flameGraph?: FlameGraphDiff;
  folded?: string;
  report?: QueryReport;
}

export interface TopFunction {
  name?: string;
  self?: string;
  total?: string;
}

export interface TopResponse {
  functions?: TopFunction[];
  total?: string;
  report?: QueryReport;
}

export interface FunctionChange {
  name?: string;
  selfBefore?: string;
  totalBefore?: string;
  selfAfter?: string;
  totalAfter?: string;
  selfSignificance?: number | 'Infinity' | '-Infinity' | 'NaN';
  totalSignificance?: number | 'Infinity' | '-Infinity' | 'NaN';
}

export interface CompareFunctionsResponse {
  functions?: FunctionChange[];
  totalBefore?: string;
  totalAfter?: string;
  slicesBefore?: number;
  slicesAfter?: number;
  report?: QueryReport;
}

export interface Label {
  name: string;
  value: string;
}

export interface TimeSeriesLine {
  labels?: Label[];
  points?: Array<{ timeUnixNano?: string; total?: string }>;
}

export interface TimeSeriesResponse {
  lines?: TimeSeriesLine[];
  report?: QueryReport;
}

export interface ProfileSummary {
  id: string;
  timeUnixNano?: string;
  durationNano?: string;
  profileType: string;
  labels?: Label[];
  total?: string;
}

export interface ListProfilesResponse {
  profiles?: ProfileSummary[];
  report?: QueryReport;
}

export interface GetProfileResponse {
  pprof?: string;
  labels?: Label[];
}

export interface Series {
  labels?: Label[];
  profileType: string;
}

/** Rows of a statement of SQL. */
export interface SqlAnswer {
  columns: Array<{ name: string; type: string }>;
  rows: unknown[][];
  has_more?: boolean;
  damaged?: DamagedSegment[];
}
