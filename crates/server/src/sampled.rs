//! What the values of a profile of one sample type are, and which family they belong to.

use flamestore_model::{Error, ProfileBatch, Result};

/// Adds what the samples stand for, where they were taken at a steady rate: value times period, of the period's type. Answers
/// the family of the profile where its types alone would not tell.
///
/// # Errors
/// `Invalid` when a product is beyond 64 bits.
pub(crate) fn add_period(batch: &mut ProfileBatch) -> Result<Option<&'static str>> {
    let [sample_type] = batch.header.sample_types[..] else { return Ok(None) };
    let text = |id: u32| batch.symbols.strings.text(id).into_owned();
    let (ty, unit) = (text(sample_type.ty), text(sample_type.unit));
    // a family of its own, though the name of the other one is part of its name
    if ty == "off_cpu" {
        return Ok(Some("off_cpu"));
    }
    let (period_type, period) = (batch.header.period_type, batch.header.period);
    let is_sampled = ty == "samples" && unit == "count" && period > 0 && !text(period_type.ty).is_empty();
    if !is_sampled {
        return Ok(None);
    }
    let counts = std::mem::take(&mut batch.samples.values);
    let mut values = Vec::with_capacity(2 * counts.len());
    for (row, count) in counts.into_iter().enumerate() {
        let too_large = || Error::invalid(format!("sample {row}: the value is too large")).with("value", count);
        values.extend([count, count.checked_mul(period).ok_or_else(too_large)?]);
    }
    batch.samples.values = values;
    batch.header.sample_types.push(period_type);
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flamestore_formats::ProfileBuilder;

    fn check(ty: (&str, &str), period: Option<(&str, i64)>, expected: &str) {
        let mut builder = ProfileBuilder::new();
        builder.sample_type(ty.0, ty.1);
        if let Some((name, period)) = period {
            builder.period(name, "nanoseconds", period);
        }
        builder.add_sample(&["f"], &[3], &[]).add_sample(&["g"], &[i64::MAX], &[]);
        let mut batch = builder.finish().unwrap();
        batch.samples.values[1] /= 1 << 32;
        let told = match add_period(&mut batch) {
            Ok(family) => {
                batch.check().unwrap();
                format!("{family:?} {:?}", batch.samples.values)
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn counts_of_samples_get_the_time_that_they_stand_for() {
        check(("samples", "count"), Some(("cpu", 100)), "None [3, 300, 2147483647, 214748364700]");
        check(("samples", "count"), None, "None [3, 2147483647]");
        check(("samples", "count"), Some(("cpu", 0)), "None [3, 2147483647]");
        check(("alloc_space", "bytes"), Some(("space", 512)), "None [3, 2147483647]");
        check(("off_cpu", "nanoseconds"), None, r#"Some("off_cpu") [3, 2147483647]"#);
        let over = "sample 1: the value is too large [value=2147483647]";
        check(("samples", "count"), Some(("cpu", 1 << 33)), over);
    }
}
