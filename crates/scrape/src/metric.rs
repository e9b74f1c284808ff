//! The names of metrics: what is counted of scrapes.
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `flamestore_scrapes_total` | counter | `outcome`: `stored`, or a kind of error |
//! | `flamestore_scrape_seconds` | histogram | |
//! | `flamestore_scrape_late_seconds` | histogram | |
//! | `flamestore_scrape_targets` | gauge | |

pub(crate) const SCRAPES_TOTAL: &str = "flamestore_scrapes_total";
pub(crate) const SCRAPE_SECONDS: &str = "flamestore_scrape_seconds";
pub(crate) const LATE_SECONDS: &str = "flamestore_scrape_late_seconds";
pub(crate) const TARGETS: &str = "flamestore_scrape_targets";
