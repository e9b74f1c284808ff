-- Reads a bucket of Flamestore with DuckDB, with no Flamestore running.
--
--   SET VARIABLE tenant = './d/anonymous';       -- the folder of one tenant
--   SET VARIABLE segments = NULL;                -- or the live segments, see below
--   .read docs/views.sql
--
-- Every table has the columns described in docs/format/segment.md and `segment`, the name of its file: an id means
-- something in its own segment only, so join on (segment, id). Bytes that are text are shown with text(…).
--
-- A crash may leave files that no manifest names. To read exactly what the store holds, list its segments first:
--   flamestore store ls --store ./d --format json > segments.json
--   SET VARIABLE segments = (SELECT list(id) FROM read_json('segments.json'));

CREATE OR REPLACE MACRO text(bytes) AS coalesce(TRY(decode(bytes)), bytes::VARCHAR);

CREATE OR REPLACE MACRO segment_table(name) AS TABLE
  SELECT parse_filename(filename, true) AS segment, * EXCLUDE (filename)
  FROM read_parquet(getvariable('tenant') || '/' || name || '/*/*.parquet', filename = true, hive_partitioning = true,
                    union_by_name = true)
  WHERE getvariable('segments') IS NULL OR list_contains(getvariable('segments'), parse_filename(filename, true));

-- As stored: the stack of a row and its value need the row's profile, as in the view `observations`. Segments have the columns
-- named here only where one of their samples has a time, a trace or a span of its own.
CREATE OR REPLACE VIEW samples AS
  SELECT NULL::BIGINT AS observed_unix_nano, NULL::BIGINT AS ended_unix_nano, NULL::BLOB AS trace_id, NULL::BLOB AS span_id
  WHERE false
  UNION ALL BY NAME
  FROM segment_table('samples');
CREATE OR REPLACE VIEW profiles AS FROM segment_table('profiles');
CREATE OR REPLACE VIEW series AS FROM segment_table('series');
CREATE OR REPLACE VIEW stacks AS FROM segment_table('stacks');
-- The caller of a call site is the last row before it that lies one level higher.
CREATE OR REPLACE VIEW call_sites AS
  SELECT c.*, p.call_site_id AS parent_id
  FROM segment_table('call_sites') c
  ASOF LEFT JOIN segment_table('call_sites') p
    ON p.segment = c.segment AND p.depth + 1 = c.depth AND p.call_site_id < c.call_site_id;
CREATE OR REPLACE VIEW locations AS FROM segment_table('locations');
CREATE OR REPLACE VIEW functions AS FROM segment_table('functions');
CREATE OR REPLACE VIEW mappings AS FROM segment_table('mappings');
CREATE OR REPLACE VIEW strings AS FROM segment_table('strings');
CREATE OR REPLACE VIEW label_sets AS FROM segment_table('label_sets');
CREATE OR REPLACE VIEW dictionaries AS FROM segment_table('dictionaries');

-- A row per line of a location: what a profiler shows as a frame. Outermost line of a location: the highest line_index.
CREATE OR REPLACE VIEW frames AS
  SELECT l.segment, l.location_id, l.line_index, l.line, l."column", f.function_id,
         CASE
           WHEN octet_length(n.bytes) > 0 THEN text(n.bytes)
           WHEN l.address + coalesce(m.memory_start, 0) <> 0
             THEN '0x' || lower(to_hex(l.address + coalesce(m.memory_start, 0)))
           ELSE '<unknown>'
         END AS name,
         text(file.bytes) AS filename
  FROM locations l
  LEFT JOIN mappings m ON m.segment = l.segment AND m.mapping_id = l.mapping_id
  LEFT JOIN functions f ON f.segment = l.segment AND f.function_id = l.function_id
  LEFT JOIN strings n ON n.segment = l.segment AND n.string_id = f.name_id
  LEFT JOIN strings file ON file.segment = l.segment AND file.string_id = f.filename_id;

-- A row per distinct stack: its frames, root first, joined by semicolons.
CREATE OR REPLACE VIEW stack_text AS
  WITH RECURSIVE
  node AS MATERIALIZED (SELECT segment, call_site_id, parent_id, location_id FROM call_sites),
  site AS (
    SELECT segment, location_id, string_agg(name, ';' ORDER BY coalesce(line_index, 0) DESC) AS name
    FROM frames GROUP BY ALL
  ),
  path AS (
    SELECT segment, call_site_id, NULL::VARCHAR AS stack FROM node WHERE parent_id IS NULL
    UNION ALL
    SELECT c.segment, c.call_site_id, concat_ws(';', p.stack, s.name)
    FROM path p
    JOIN node c ON c.segment = p.segment AND c.parent_id = p.call_site_id
    JOIN site s ON s.segment = c.segment AND s.location_id = c.location_id
  )
  SELECT t.segment, t.stack_id, coalesce(p.stack, '') AS stack
  FROM stacks t JOIN path p ON p.segment = t.segment AND p.call_site_id = t.call_site_id;

-- A row per observation: whose it is, when, and its value in the units of its profile type.
CREATE OR REPLACE VIEW observations AS
  SELECT s.segment, r.service_name, r.profile_type, r.labels, p.profile_id, s.time_unix_nano,
         s.stack_key - p.stack_base AS stack_id, s.value * p.unit AS value, s.label_set_id,
         s.observed_unix_nano, s.ended_unix_nano, lower(hex(s.trace_id)) AS trace_id, lower(hex(s.span_id)) AS span_id
  FROM samples s
  JOIN profiles p ON p.segment = s.segment AND p.profile = s.profile
  JOIN series r ON r.segment = s.segment AND r.series_id = s.series_id;
