//! How figures are printed.

use std::fmt::Display;

/// What a ratio should be.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

/// The answer to one question, line by line.
#[derive(Debug)]
pub struct Report(());

impl Report {
    /// Prints the question.
    pub fn new(question: &str) -> Self {
        line(format_args!("\n# {question}"));
        Self(())
    }

    /// Prints what was measured on.
    pub fn note(&self, text: impl Display) {
        line(format_args!("  {text}"));
    }

    /// Prints a figure.
    pub fn figure(&self, what: &str, value: f64, unit: &str) {
        line(format_args!("  {what:<58} {:>10} {unit}", digits(value)));
    }

    /// Prints a figure that has a goal.
    pub fn goal(&self, what: &str, value: f64, unit: &str, goal: Goal) {
        let (met, goal) = match goal {
            Goal::AtMost(most) => (value <= most, format!("≤ {}", digits(most))),
            Goal::AtLeast(least) => (value >= least, format!("≥ {}", digits(least))),
        };
        let verdict = if met { "met" } else { "MISSED" };
        line(format_args!("  {what:<58} {:>10} {unit:<12} goal {goal}: {verdict}", digits(value)));
    }
}

fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 100.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[expect(clippy::print_stdout, reason = "figures are what a benchmark is for")]
fn line(text: std::fmt::Arguments<'_>) {
    println!("{text}");
}
