-- The roll-ups of a bucket, after views.sql:
--
--   .read docs/views.sql
--   .read docs/views-rollups.sql
--
-- They are made when segments of an hour or a day are: a bucket that has none yet has no such files, and this fails. Segments of
-- months and years repeat the days of others: to add days up, name the segments that have profiles in the variable `segments`.

CREATE OR REPLACE VIEW windows AS FROM segment_table('windows');
CREATE OR REPLACE VIEW rollups_1h AS FROM segment_table('rollups_1h');
CREATE OR REPLACE VIEW rollups_1d AS FROM segment_table('rollups_1d');

-- A row per series, hour and stack: the sum of the hour, and of instant values the last, the largest and the average one.
CREATE OR REPLACE VIEW hours AS
  SELECT u.segment, r.service_name, r.profile_type, r.labels, u.time_unix_nano, u.stack_id, u.value * w.unit AS value,
         u.last * w.unit AS last, u.max * w.unit AS max, u.value * w.unit / w.profile_count AS average
  FROM rollups_1h u
  JOIN windows w ON w.segment = u.segment AND w.window_id = u.window_id
  JOIN series r ON r.segment = u.segment AND r.series_id = u.series_id;
CREATE OR REPLACE VIEW days AS
  SELECT u.segment, r.service_name, r.profile_type, r.labels, u.time_unix_nano, u.stack_id, u.value * w.unit AS value,
         u.last * w.unit AS last, u.max * w.unit AS max, u.value * w.unit / w.profile_count AS average
  FROM rollups_1d u
  JOIN windows w ON w.segment = u.segment AND w.window_id = u.window_id
  JOIN series r ON r.segment = u.segment AND r.series_id = u.series_id;
