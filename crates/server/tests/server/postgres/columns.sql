SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
  (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid),
  a.attnotnull,
  (SELECT c.collname FROM pg_catalog.pg_collation c WHERE c.oid = a.attcollation) AS attcollation,
  a.attidentity, a.attgenerated
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = 'samples'::regclass AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
