//! The command line: which commands there are, and what they share.

use std::io::{self, IsTerminal};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::compare::Compare;
use crate::demo::Demo;
use crate::failure::{Failure, Outcome};
use crate::list::{LabelList, Neighbours, Profile, Profiles, SeriesList, Top, Types};
use crate::merge::{Diff, Merge};
use crate::push::Push;
use crate::replay::Replay;
use crate::serve::Serve;
use crate::sql::Sql;
use crate::store::StoreCommand;

const AFTER_HELP: &str = "\
Every flag can also be set by the environment variable named beside it in a command's help.
Times are RFC 3339, dates, unix seconds/ms/µs/ns by magnitude, `now`, or `now-1h30m`; the end of a range is not included.

Start here:  flamestore demo";

/// A store for profiles: push them, merge them, compare them.
#[derive(Debug, Parser)]
#[command(name = "flamestore", version, about, after_help = AFTER_HELP, max_term_width = 110)]
pub(crate) struct Cli {
    /// What is logged to standard error: a level, or levels by module, as `info,flamestore_store=debug` [default: info for
    /// `serve`, else warn].
    #[arg(long, env = "FLAMESTORE_LOG", value_name = "FILTER", global = true)]
    log: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(Demo),
    Serve(Box<Serve>),
    Push(Push),
    Replay(Replay),
    Merge(Merge),
    Diff(Diff),
    Compare(Compare),
    Top(Top),
    Neighbours(Neighbours),
    Types(Types),
    Labels(LabelList),
    Series(SeriesList),
    Profiles(Profiles),
    Profile(Profile),
    Sql(Box<Sql>),
    Store(StoreCommand),
}

impl Cli {
    /// Runs the command.
    pub(crate) fn run(self) -> Outcome {
        self.start_log()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|e| Failure::io("cannot start the threads of the command", &e))?;
        runtime.block_on(self.command.run())
    }

    fn start_log(&self) -> Outcome {
        let default = if matches!(self.command, Command::Serve(_)) { "info" } else { "warn" };
        let filter = self.log.as_deref().unwrap_or(default);
        let filter = EnvFilter::try_new(filter).map_err(|e| Failure::new(format!("--log {filter}: {e}")))?;
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .init();
        Ok(())
    }
}

impl Command {
    async fn run(self) -> Outcome {
        match self {
            Self::Demo(command) => command.run().await,
            Self::Serve(command) => command.run().await,
            Self::Push(command) => command.run().await,
            Self::Replay(command) => command.run().await,
            Self::Merge(command) => command.run().await,
            Self::Diff(command) => command.run().await,
            Self::Compare(command) => command.run().await,
            Self::Top(command) => command.run().await,
            Self::Neighbours(command) => command.run().await,
            Self::Types(command) => command.run().await,
            Self::Labels(command) => command.run().await,
            Self::Series(command) => command.run().await,
            Self::Profiles(command) => command.run().await,
            Self::Profile(command) => command.run().await,
            Self::Sql(command) => command.run().await,
            Self::Store(command) => command.run().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_can_be_set_by_the_environment() {
        for command in Cli::command().get_subcommands() {
            for flag in command.get_arguments().filter(|arg| arg.get_long().is_some()) {
                let name = flag.get_long().unwrap_or_default();
                let env = flag.get_env().and_then(|env| env.to_str()).unwrap_or_default();
                assert!(env.starts_with("FLAMESTORE_") || name == "help", "{} --{name}", command.get_name());
            }
        }
    }

    #[test]
    fn a_wrong_time_names_the_flag_and_shows_examples() {
        let args = ["flamestore", "merge", "--query", "{}", "--from", "yesterday"];
        let error = Cli::try_parse_from(args).unwrap_err().to_string();
        assert!(error.contains("--from") && error.contains("now-1h30m"), "{error}");
    }
}
