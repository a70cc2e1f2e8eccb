//! `user passwd` and `user totp`: what people sign in by besides a token.
//! Never shows a password while it is typed, and never takes one as an argument, where other programs could read it.
//! Read `people.rs` for everything else about people.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use clap::Args;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::json;
use zeroize::Zeroizing;

use super::client::Client;
use super::exit::{CliError, Exit};
use super::output::Output;
use super::people::{PlaceArgs, Way, people_error, usage};
use crate::api::browser::CodeBody;
use crate::api::factors::{
    FactorsShape, LinkShape, PasswordBody, PasswordSet, RecoveryShape, TotpShape, sound_password,
};
use crate::api::people::{Me, person_name};
use crate::clock::Timestamp;
use crate::desk::LINK_LIFE;
use crate::identity::password::PasswordVerifier;

#[derive(Debug, Args)]
pub struct PasswdArgs {
    /// The person
    name: String,
    /// Read the new password from standard input, one line; over the API the old one, if there is one, stands before it
    #[arg(long, conflicts_with = "link")]
    stdin: bool,
    /// Make a one-time code by which the person sets the password
    #[arg(long)]
    link: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
pub struct TotpArgs {
    /// Take the authenticator app away, and its recovery codes
    #[arg(long)]
    remove: bool,
    /// A code of the app that there is, to take it away
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
}

pub async fn passwd(args: &PasswdArgs, output: Output) -> Result<Exit, CliError> {
    let name = person_name("name", &args.name).map_err(usage)?;
    match args.place.way()? {
        Way::Api(client) => {
            let me: Me = client.get("/me", &[]).await?;
            if me.person.name != args.name || args.link {
                let path = format!("/users/{name}/password-link");
                let link: LinkShape = client.post(&path, &json!({})).await?;
                return Ok(print_link(&link, output));
            }
            change_own(&client, args.stdin, output).await
        }
        Way::Here { mut store, by } => {
            let now = Timestamp::now();
            let nobody = std::collections::BTreeSet::new();
            if args.link {
                let made = store.password_link(&name, &by, now).map_err(people_error)?;
                let shape = LinkShape {
                    person: name.to_string(),
                    link: made.reveal().to_owned(),
                    ends_at: now.after(LINK_LIFE).to_string(),
                    seen_by: Vec::new(),
                };
                return Ok(print_link(&shape, output));
            }
            let password = new_password(args.stdin)?;
            let verifier = PasswordVerifier::make(&password, rand::random());
            store
                .password_set(&name, &verifier, &nobody, &by, now)
                .map_err(people_error)?;
            Ok(print_set(
                &PasswordSet {
                    person: name.to_string(),
                },
                output,
            ))
        }
    }
}

async fn change_own(client: &Client, stdin: bool, output: Output) -> Result<Exit, CliError> {
    let factors: FactorsShape = client.get("/me/factors", &[]).await?;
    let old_password = match (factors.password, stdin) {
        (false, _) => None,
        (true, true) => Some(line()?),
        (true, false) => Some(unseen("old password: ")?),
    };
    let password = new_password(stdin)?;
    let body = PasswordBody {
        old_password: old_password.map(|old| old.to_string()),
        password: password.to_string(),
    };
    let client = match (factors.second_factors.iter().any(|way| way == "totp"), stdin) {
        (true, false) => client
            .clone()
            .with_code(Some(unseen("code of your authenticator app: ")?.to_string())),
        (true, true) | (false, _) => client.clone(),
    };
    let set: PasswordSet = client.post("/me/password", &body).await?;
    Ok(print_set(&set, output))
}

fn print_link(link: &LinkShape, output: Output) -> Exit {
    // Alone on stdout, so that it can be handed on unread.
    output.either(link, || link.link.clone());
    eprintln!(
        "shown this once; `{}` sets a password by it until {}",
        link.person, link.ends_at
    );
    if !link.seen_by.is_empty() {
        eprintln!(
            "seen by {}: sessions by that password decide nothing in which one of them has a stake",
            link.seen_by.join(", ")
        );
    }
    Exit::Done
}

fn print_set(set: &PasswordSet, output: Output) -> Exit {
    output.either(set, || {
        format!("{}  password set, every session ended", set.person)
    });
    Exit::Done
}

/// Enrols the caller's app: the picture, a code of it, the recovery codes.
pub async fn totp(args: &TotpArgs, output: Output) -> Result<Exit, CliError> {
    let client = Client::from_environment()?.with_code(args.code.clone());
    if args.remove {
        let factors: FactorsShape = client.delete("/me/totp").await?;
        output.either(&factors, || "no authenticator app".to_owned());
        return Ok(Exit::Done);
    }
    let begun: TotpShape = client.post("/me/totp", &json!({})).await?;
    let picture = QrCode::new(begun.url.as_bytes())
        .map_err(|error| CliError::error(error, "type the secret into the app instead"))?;
    eprintln!(
        "{}\nsecret  {}\n",
        picture.render::<Dense1x2>().build(),
        begun.secret
    );
    eprint!("code that the app shows now: ");
    let code = line()?.trim().to_owned();
    let codes: RecoveryShape = client.post("/me/totp/confirm", &CodeBody { code }).await?;
    output.either(&codes, || codes.recovery_codes.join("\n"));
    eprintln!("recovery codes, shown this once; each signs in once when the app is lost");
    Ok(Exit::Done)
}

fn new_password(stdin: bool) -> Result<Zeroizing<String>, CliError> {
    let password = if stdin {
        line()?
    } else {
        let first = unseen("new password: ")?;
        if *first != *unseen("once more: ")? {
            return Err(CliError::usage("the two differ", "type the same twice"));
        }
        first
    };
    sound_password("password", &password).map_err(usage)?;
    Ok(password)
}

/// Asks on the terminal without showing what is typed.
fn unseen(question: &str) -> Result<Zeroizing<String>, CliError> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(CliError::usage(
            "there is no terminal to ask on",
            "send the password with --stdin",
        ));
    }
    let failed = |error: rustix::io::Errno| CliError::error(error, "send the password with --stdin");
    let shown = tcgetattr(&input).map_err(failed)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    eprint!("{question}");
    // Unflushed words on stderr are the terminal's trouble.
    let _flushed = std::io::stderr().flush();
    tcsetattr(&input, OptionalActions::Flush, &hidden).map_err(failed)?;
    let typed = line();
    let restored = tcsetattr(&input, OptionalActions::Flush, &shown).map_err(failed);
    eprintln!();
    restored.and(typed)
}

fn line() -> Result<Zeroizing<String>, CliError> {
    let mut text = Zeroizing::new(String::new());
    let read = std::io::stdin().lock().read_line(&mut text);
    read.map_err(|error| CliError::error(error, "send one line"))?;
    while text.ends_with(['\n', '\r']) {
        text.pop();
    }
    Ok(text)
}
