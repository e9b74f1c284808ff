//! What does it cost to find a known stack, against hashing its frames?

use flamestore_benches::{Goal, Report, Turns, fleet, observing, rounds};
use flamestore_calltree::{Interned, Interner};
use flamestore_model::{ProfileBatch, Result, Samples};
use flamestore_testkit::FleetService;
use xxhash_rust::xxh3::xxh3_128;

fn main() -> Result<()> {
    let fleet = fleet();
    let report = Report::new("What does finding a known stack cost, against hashing its frames?");
    report.note(format!("real stacks: {}", fleet.is_real()));
    let services: Vec<FleetService> = fleet.services().collect();
    let whole: Vec<ProfileBatch> = services.iter().map(whole_run).collect();
    let samples: usize = whole.iter().map(|batch| batch.samples.len()).sum();
    let frames: usize = whole.iter().map(|batch| batch.samples.stack_locations.len()).sum();
    let bytes: Vec<Vec<u8>> = whole.iter().map(frame_bytes).collect();
    let mut interners: Vec<Interner> = whole.iter().map(|_| Interner::new(1)).collect();
    let mut interned = Interned::default();
    for (batch, interner) in whole.iter().zip(&mut interners) {
        interner.intern_into(batch, &mut interned)?;
    }
    let mut turns = Turns::default();
    for _ in 0..rounds() {
        turns.run(0, || {
            whole.iter().zip(&bytes).map(|(batch, bytes)| hash_all(&batch.samples, bytes)).fold(0, |a, b| a ^ b)
        });
        turns.run(1, || intern_all(&whole, &mut interners, &mut interned))?;
    }
    let stacks: usize = interners.iter().map(Interner::stacks).sum();
    let memory: usize = interners.iter().map(Interner::memory_bytes).sum();
    report.note(format!("{samples} samples of {stacks} stacks, {:.1} frames each", frames as f64 / samples as f64));
    let nanos = |way: usize| turns.median(way) / samples as f64 * 1e9;
    report.figure("floor: xxh3-128 of the frame ids", nanos(0), "ns/sample");
    report.figure("intern a known stack, one table of symbols per service", nanos(1), "ns/sample");
    report.goal("times the cost of hashing", nanos(1) / nanos(0), "×", Goal::AtMost(4.0));
    per_profile(&report, &services, &mut interners)?;
    observations(&report, &whole, &mut interners)?;
    report.figure("memory of the dictionaries", memory as f64 / stacks as f64, "B/stack");
    Ok(())
}

/// Profile after profile, each with its own tables of symbols to look up first.
fn per_profile(report: &Report, services: &[FleetService], interners: &mut [Interner]) -> Result<()> {
    let batches: Vec<Vec<ProfileBatch>> =
        services.iter().map(|s| s.run().take(16).map(|scrape| s.batch(&scrape)).collect()).collect();
    let samples: usize = batches.iter().flatten().map(|batch| batch.samples.len()).sum();
    let mut interned = Interned::default();
    let mut turns = Turns::default();
    for _ in 0..rounds() {
        turns.run(0, || -> Result<()> {
            for (batches, interner) in batches.iter().zip(&mut *interners) {
                batches.iter().try_for_each(|batch| interner.intern_into(batch, &mut interned))?;
            }
            Ok(())
        })?;
    }
    let nanos = turns.median(0) / samples as f64 * 1e9;
    report.figure("the same profile by profile, symbols looked up each time", nanos, "ns/sample");
    Ok(())
}

/// The samples of a few services as they are, and as observations with times and spans that were never seen before.
fn observations(report: &Report, whole: &[ProfileBatch], interners: &mut [Interner]) -> Result<()> {
    let (plain, interners) = (&whole[..whole.len().min(2)], &mut interners[..whole.len().min(2)]);
    let samples: usize = plain.iter().map(|batch| batch.samples.len()).sum();
    let memory = |interners: &[Interner]| interners.iter().map(Interner::memory_bytes).sum::<usize>() as f64;
    let (before, mut interned, mut turns) = (memory(interners), Interned::default(), Turns::default());
    for round in 0..rounds() {
        let observed: Vec<ProfileBatch> =
            plain.iter().map(|batch| observing(batch, round as u64)).collect::<Result<_>>()?;
        turns.run(0, || intern_all(plain, interners, &mut interned))?;
        turns.run(1, || intern_all(&observed, interners, &mut interned))?;
    }
    let nanos = |way: usize| turns.median(way) / samples as f64 * 1e9;
    report.figure("intern a known stack, of two services", nanos(0), "ns/sample");
    report.figure("the same with a thread, a new time, trace and span each", nanos(1), "ns/sample");
    report.figure("times the cost without labels", nanos(1) / nanos(0), "×");
    let grown = (memory(interners) - before) / (samples * rounds()) as f64;
    report.figure("what the dictionaries grow by", grown, "B/observation");
    Ok(())
}

/// All samples of a service as one profile: its symbols are looked up once, its stacks as often as they were sampled.
fn whole_run(service: &FleetService) -> ProfileBatch {
    let mut batch = service.universe();
    let mut samples = Samples { stack_offsets: vec![0], ..Samples::default() };
    for scrape in service.run() {
        for (stack, value) in scrape.stacks.iter().zip(&scrape.values) {
            samples.stack_locations.extend_from_slice(batch.samples.stack(*stack as usize));
            samples.stack_offsets.push(u32::try_from(samples.stack_locations.len()).unwrap_or(u32::MAX));
            samples.values.push(*value);
        }
    }
    batch.samples = samples;
    batch
}

fn frame_bytes(batch: &ProfileBatch) -> Vec<u8> {
    batch.samples.stack_locations.iter().flat_map(|id| id.to_le_bytes()).collect()
}

fn hash_all(samples: &Samples, bytes: &[u8]) -> u128 {
    let ends = samples.stack_offsets.windows(2);
    ends.fold(0, |all, ends| all ^ xxh3_128(&bytes[ends[0] as usize * 4..ends[1] as usize * 4]))
}

fn intern_all(batches: &[ProfileBatch], interners: &mut [Interner], interned: &mut Interned) -> Result<()> {
    batches.iter().zip(interners).try_for_each(|(batch, interner)| interner.intern_into(batch, interned))
}
