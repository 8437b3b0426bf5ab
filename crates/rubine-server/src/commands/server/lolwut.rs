//! LOLWUT: a ruby, cut anew each time, and the version.

use rubine_base::random::Random;
use rubine_commands::{CommandError, CommandResult, Flags};

use crate::core::{ServerCommand, Session};
use crate::process::identity::REDIS_VERSION;

pub(super) const LOLWUT: ServerCommand = ServerCommand::declare("LOLWUT", lolwut)
    .summary("Shows a stone and the version of the server.")
    .syntax("[VERSION version]")
    .since("5.0.0")
    .complexity("O(1)")
    .arity(-1)
    .flag(Flags::READONLY.union(Flags::FAST));

fn lolwut(session: &mut Session<'_>) -> CommandResult {
    if session.args.get(1).is_some_and(|it| it.eq_ignore_ascii_case(b"VERSION")) {
        // Other versions drew other things; here there is one.
        let version = session.args.get(2).ok_or(CommandError::Syntax)?;
        rubine_base::number::parse_i64(version).ok_or(CommandError::NotInteger)?;
    }
    let mut text = stone(&mut session.core.runner.random);
    let own = env!("CARGO_PKG_VERSION");
    let versions = format!("\nA ruby. Rubine ver. {own}, for clients Redis ver. {REDIS_VERSION}\n");
    text.push_str(&versions);
    session.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// Half the width of the stone at its girdle.
const RADIUS: usize = 16;
/// Lines of the table above the girdle.
const CROWN_LINES: usize = 4;

/// A cut stone from the side, with facets that are light or dark by chance.
fn stone(random: &mut Random) -> String {
    const SHADES: &[char] = &[' ', '.', ':', '-', '=', '+', '*'];
    let mut facets = [[0; 8]; 3];
    facets.iter_mut().flatten().for_each(|it| *it = random.below(SHADES.len() as u64) as usize);
    let mut text = String::new();
    for line in 0..CROWN_LINES + RADIUS {
        let is_crown = line < CROWN_LINES;
        let half = if is_crown { RADIUS - CROWN_LINES + line } else { RADIUS + CROWN_LINES - line };
        let band = if is_crown { 0 } else { 1 + usize::from(RADIUS / 2 < line - CROWN_LINES) };
        text.extend(std::iter::repeat_n(' ', RADIUS - half));
        text.push(if is_crown { '/' } else { '\\' });
        for column in 0..half * 2 {
            let facet = column * 8 / (half * 2);
            text.push(SHADES[facets[band][facet]]);
        }
        text.push(if is_crown { '\\' } else { '/' });
        text.push('\n');
    }
    text
}
