//! Manual pages out of the command line's own tree: that of the program, or one for each command into a folder.
//! Never says anything that `--help` does not. Read `mod.rs` for the tree.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::Man;

use super::exit::{CliError, Exit};
use super::output::Output;

#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write a page for the program and one for each command into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints the program's page, or writes every page.
pub fn run(args: &ManArgs, tree: Command, output: Output) -> Result<Exit, CliError> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        Man::new(tree)
            .render(&mut page)
            .expect("writing to a Vec cannot fail");
        output.text(&String::from_utf8_lossy(&page));
        return Ok(Exit::Done);
    };
    let written = std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(tree, dir));
    written.map_err(|error| {
        CliError::error(
            format!("cannot write the pages into `{}`: {error}", dir.display()),
            "name a folder of yours with --dir",
        )
    })?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::CommandLine;

    #[test]
    fn every_command_that_is_shown_has_a_page() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let args = ManArgs {
            dir: Some(folder.path().join("man1")),
        };
        run(&args, CommandLine::command(), Output::Text).expect("the folder can be made");
        let page = |name: &str| {
            let file = folder.path().join("man1").join(format!("{name}.1"));
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        };
        assert!(page("countersign").contains("Exit codes"));
        for command in CommandLine::command().get_subcommands() {
            let name = format!("countersign-{}", command.get_name());
            if command.is_hide_set() {
                assert!(!folder.path().join("man1").join(format!("{name}.1")).exists());
            } else {
                assert!(page(&name).contains(".TH"), "{name}");
            }
        }
        assert!(page("countersign-log-verify").contains("checkpoint"));
    }
}
