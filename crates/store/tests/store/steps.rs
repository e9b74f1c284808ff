//! A crash before and after every step of every job that changes a store: nothing that is owed is lost or counted twice, and
//! the job can be done again. A failure names the step.

use std::time::Duration;

use flamestore_model::{ProfileId, Result, Tenant, TimeRange};
use flamestore_store::{
    Deletion, Durability, Keep, Mode, PushProfile, RetentionOverride, RetentionTimes, Scope, Store,
};
use flamestore_testkit::{Oracle, profile};

use crate::cuts::{Process, Scene, check_every_step};
use crate::support::{DAY_START, SECOND, labels, push_of};

const DAY: i64 = 86_400 * SECOND;
const LOGGED: [Durability; 2] = [Durability::Wal, Durability::Bucket];

/// Profile `number` of a service, taken at a second of its own, under an id of its own: sent again it counts once.
#[derive(Clone, Copy)]
struct Numbered(i64, &'static str, i64);

impl Numbered {
    fn id(self) -> ProfileId {
        ProfileId::from_parts(1, u128::try_from(self.0).unwrap())
    }

    fn push(self) -> PushProfile {
        let batch = profile(&format!("main;p{} {}", self.0, self.0 + 1));
        PushProfile { id: Some(self.id()), ..push_of(self.1, batch, self.2) }
    }

    fn tell(self, oracle: &mut Oracle) {
        oracle.push(self.id(), &labels(self.1), Some(self.2), self.push().batch);
    }
}

/// Three profiles of two services on two days.
const THREE: [Numbered; 3] =
    [Numbered(1, "api", DAY_START), Numbered(2, "api", DAY_START + 10 * SECOND), Numbered(3, "web", DAY_START - DAY)];

async fn push_all(store: &Store, profiles: &[Numbered]) -> Result<()> {
    for profile in profiles {
        store.push(profile.push()).await?;
    }
    Ok(())
}

fn tell(oracle: &mut Oracle, profiles: &[Numbered]) {
    profiles.iter().for_each(|profile| profile.tell(oracle));
}

/// A scene in which `profiles` are published, a segment each, by a process that has ended in order.
async fn published(profiles: &[Numbered]) -> Scene {
    let mut scene = Scene::new(Durability::None);
    let store = scene.process(100).open().await.unwrap();
    for profile in profiles {
        push_all(&store, &[*profile]).await.unwrap();
        store.flush().await.unwrap();
    }
    store.shutdown().await.unwrap();
    tell(&mut scene.before, profiles);
    tell(&mut scene.after, profiles);
    scene
}

/// As [`published`], merged, with a pair of profiles half a day apart on each of `days`: so there are roll-ups.
async fn rolled_up(days: &[i64]) -> Scene {
    let pair = |(n, day): (i64, &i64)| [Numbered(n, "api", *day), Numbered(n + 1, "web", *day + DAY / 2)];
    let profiles: Vec<Numbered> = (0..).step_by(2).zip(days).flat_map(pair).collect();
    let scene = published(&profiles).await;
    let merged = scene.process(101).compactor(|_| {}).compact(Scope::All, &|_, _| {}).await.unwrap();
    assert_eq!(merged.segments_out, days.len());
    scene
}

#[tokio::test]
async fn a_start_that_is_cut_at_any_step_can_be_made_again() {
    for durability in LOGGED {
        let mut expected = vec!["create probe", "create manifest"];
        match durability {
            Durability::Wal => expected.extend(["create id.new", "append id.new", "sync id.new", "rename id.new"]),
            _ => expected.extend(["list wal/w/", "create log"]),
        }
        let job = async |process: &Process| {
            process.arm();
            process.open().await.map(drop)
        };
        check_every_step(&Scene::new(durability), &expected, job).await;
    }
}

#[tokio::test]
async fn a_push_that_is_cut_at_any_step_is_there_once_if_it_was_acknowledged() {
    for durability in LOGGED {
        let mut scene = Scene::new(durability);
        tell(&mut scene.after, &THREE[..1]);
        let expected: &[&str] = match durability {
            Durability::Wal => &["create part", "append part", "sync part"],
            _ => &["create log"],
        };
        let job = async |process: &Process| {
            let store = process.open().await?;
            process.arm();
            push_all(&store, &THREE[..1]).await
        };
        check_every_step(&scene, expected, job).await;
    }
}

#[tokio::test]
async fn a_flush_and_the_release_of_its_log_that_are_cut_at_any_step_lose_nothing() {
    for durability in LOGGED {
        let mut scene = Scene::new(durability);
        tell(&mut scene.before, &THREE);
        tell(&mut scene.after, &THREE);
        let mut expected = vec!["create samples", "create profiles", "create call_sites", "create manifest"];
        expected.push(if durability == Durability::Wal { "remove part" } else { "delete log" });
        let job = async |process: &Process| {
            let store = process.open().await?;
            push_all(&store, &THREE).await?;
            process.arm();
            store.flush().await?;
            store.shutdown().await
        };
        check_every_step(&scene, &expected, job).await;
    }
}

#[tokio::test]
async fn a_take_over_that_is_cut_at_any_step_keeps_what_the_log_holds() {
    for durability in LOGGED {
        let mut scene = Scene::new(durability);
        let store = scene.process(100).open().await.unwrap();
        push_all(&store, &THREE).await.unwrap();
        drop(store);
        scene.crash();
        tell(&mut scene.before, &THREE);
        tell(&mut scene.after, &THREE);
        let mut expected = vec!["create probe", "create manifest", "create samples"];
        match durability {
            Durability::Wal => expected.extend(["read id", "read part", "remove part"]),
            _ => expected.extend(["list wal/w/", "create log", "get log", "delete log"]),
        }
        let job = async |process: &Process| {
            process.arm();
            let store = process.open().await?;
            store.flush().await?;
            store.shutdown().await
        };
        check_every_step(&scene, &expected, job).await;
    }
}

#[tokio::test]
async fn a_compaction_that_is_cut_at_any_step_changes_no_answer() {
    let scene = published(&[THREE[0], Numbered(2, "api", DAY_START + DAY / 2)]).await;
    let job = async |process: &Process| {
        process.arm();
        process.compactor(|_| {}).compact(Scope::All, &|_, _| {}).await.map(drop)
    };
    let expected = ["get samples", "create samples", "create call_sites", "create rollups_1h", "create manifest"];
    check_every_step(&scene, &expected, job).await;
}

#[tokio::test]
async fn a_roll_up_of_a_month_that_is_cut_at_any_step_changes_no_answer() {
    // two days of a month that is over
    let first = DAY_START - 40 * DAY;
    let scene = rolled_up(&[first, first + DAY]).await;
    let job = async |process: &Process| {
        process.arm();
        let rolled = process.compactor(|_| {}).roll_up().await?;
        assert_eq!((rolled.dropped, rolled.left), (0, 0));
        Ok(())
    };
    check_every_step(&scene, &["get rollups_1d", "create rollups_1d", "create manifest"], job).await;
}

async fn expire(process: &Process, times: RetentionTimes) -> Result<()> {
    process.arm();
    process.compactor(|options| options.retention.times = times).expire().await.map(drop)
}

#[tokio::test]
async fn expiry_of_segments_that_is_cut_at_any_step_lets_go_of_them_or_not() {
    let mut scene = published(&THREE).await;
    scene.now_unix_nano += 10 * SECOND + DAY;
    scene.after = Oracle::new();
    tell(&mut scene.after, &THREE[1..2]);
    let times = RetentionTimes { raw: Keep::For(Duration::from_secs(86_400 + 5)), ..RetentionTimes::default() };
    check_every_step(&scene, &["create manifest"], async |process: &Process| expire(process, times).await).await;
}

#[tokio::test]
async fn expiry_of_samples_that_is_cut_at_any_step_leaves_their_roll_ups() {
    let mut scene = rolled_up(&[DAY_START]).await;
    scene.now_unix_nano += 3 * DAY;
    scene.is_asked_whole = true;
    let times = RetentionTimes { raw: Keep::For(Duration::from_secs(86_400)), ..RetentionTimes::default() };
    check_every_step(&scene, &["create manifest"], async |process: &Process| expire(process, times).await).await;
}

#[tokio::test]
async fn expiry_of_one_profile_type_that_is_cut_at_any_step_leaves_the_others() {
    let heap = |number, time| {
        let mut batch = profile(&format!("main;heap{number} {number}"));
        batch.header.sample_types.iter_mut().for_each(|ty| ty.unit = ty.ty);
        PushProfile { id: Some(ProfileId::from_parts(2, number)), ..push_of("api", batch, time) }
    };
    let mut scene = Scene::new(Durability::None);
    let store = scene.process(100).open().await.unwrap();
    push_all(&store, &THREE[..1]).await.unwrap();
    let push = heap(7, DAY_START);
    store.push(push.clone()).await.unwrap();
    store.shutdown().await.unwrap();
    tell(&mut scene.after, &THREE[..1]);
    tell(&mut scene.before, &THREE[..1]);
    scene.before.push(push.id.unwrap(), &push.labels, push.time_unix_nano, push.batch);
    scene.now_unix_nano += 2 * DAY;
    let profile_type =
        store.manifest().segments[0].profile_types.iter().find(|ty| !ty.contains("nanoseconds:cpu")).cloned();
    assert!(profile_type.is_some());
    let times = RetentionTimes { raw: Keep::For(Duration::from_secs(86_400)), ..RetentionTimes::default() };
    let over = RetentionOverride { tenant: None, profile_type, times };
    let job = async |process: &Process| {
        process.arm();
        let compactor = process.compactor(|options| options.retention.overrides = vec![over.clone()]);
        compactor.expire().await.map(drop)
    };
    check_every_step(&scene, &["get samples", "create samples", "create manifest"], job).await;
}

#[tokio::test]
async fn a_deletion_that_is_cut_at_any_step_has_deleted_or_not() {
    // all in one segment, so that it is written again
    let profiles = [THREE[0], THREE[1], Numbered(4, "web", DAY_START + 20 * SECOND)];
    let mut scene = Scene::new(Durability::None);
    let store = scene.process(100).open().await.unwrap();
    push_all(&store, &profiles).await.unwrap();
    store.shutdown().await.unwrap();
    tell(&mut scene.before, &profiles);
    tell(&mut scene.after, &profiles[2..]);
    let deletion = Deletion {
        tenant: Tenant::default(),
        selector: "{service_name=\"api\"}".parse().unwrap(),
        range: TimeRange::ALL,
    };
    let job = async |process: &Process| {
        process.arm();
        process.compactor(|_| {}).delete(&deletion, Mode::Delete, &|_, _| {}).await.map(drop)
    };
    check_every_step(&scene, &["get samples", "create samples", "create manifest"], job).await;
}

#[tokio::test]
async fn a_collection_that_is_cut_at_any_step_takes_nothing_that_is_of_use() {
    let mut scene = published(&THREE[..2]).await;
    scene.process(101).compactor(|_| {}).compact(Scope::All, &|_, _| {}).await.unwrap();
    scene.now_unix_nano += 25 * 3600 * SECOND;
    let job = async |process: &Process| {
        process.arm();
        process.compactor(|_| {}).collect(Mode::Delete).await.map(drop)
    };
    check_every_step(&scene, &["list manifest/", "delete manifest", "delete samples"], job).await;
}
