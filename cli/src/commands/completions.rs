//! `tern completions`: what a shell needs to complete commands and options.

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use crate::Ending;
use crate::args::Cli;
use crate::output::print;

/// Prints a script that makes a shell complete tern's commands and options.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tern completions bash > ~/.local/share/bash-completion/completions/tern
  tern completions zsh > ~/.zfunc/_tern                     where fpath has ~/.zfunc
  tern completions fish > ~/.config/fish/completions/tern.fish
  tern completions powershell >> $PROFILE
  tern completions elvish >> ~/.config/elvish/rc.elv")]
pub struct Args {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Ending> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut shown(&Cli::command()), "tern", &mut script);
    print(String::from_utf8(script)?)?;
    Ok(Ending::Done)
}

/// The command without the hidden ones, which clap's scripts for some shells would offer.
fn shown(all: &Command) -> Command {
    let shown = all
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    Command::new("tern")
        .version(env!("CARGO_PKG_VERSION"))
        .args(all.get_arguments())
        .subcommands(shown)
}
