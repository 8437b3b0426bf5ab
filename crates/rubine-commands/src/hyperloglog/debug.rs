//! PFDEBUG and PFSELFTEST: a look inside, for tests.

use rubine_structures::hyperloglog::{self, Encoding, Registers};

use super::expect_hll;
use crate::command::{Command, Flags};
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::string::part;

pub(super) const PFDEBUG: Command = Command::new("PFDEBUG", pfdebug)
    .summary(
        "Shows the registers of a HyperLogLog, its encoding or its opcodes, or makes it dense.",
    )
    .syntax("subcommand key")
    .since("2.8.9")
    .complexity("O(1)")
    .arity(3)
    .writes()
    .denies_oom()
    .flag(Flags::ADMIN)
    .key_at(2, "RW ACCESS");

fn pfdebug(cx: &mut Context<'_, '_>) -> CommandResult {
    let is = |name: &str| cx.args.at(1).eq_ignore_ascii_case(name.as_bytes());
    if is("SIMD") {
        return simd(cx);
    }
    let (is_getreg, is_decode) = (is("GETREG"), is("DECODE"));
    let (is_encoding, is_todense) = (is("ENCODING"), is("TODENSE"));
    let Some(record) = cx.keys.find(cx.key(2)) else {
        return Err(CommandError::text("ERR The specified key does not exist"));
    };
    let (string, encoding) = expect_hll(record)?;
    if is_getreg {
        getreg(cx)
    } else if is_decode {
        let opcodes = hyperloglog::decode(&string.text());
        let opcodes = opcodes.ok_or(CommandError::text("ERR HLL encoding is not sparse"))?;
        cx.reply.bulk(opcodes.as_bytes());
        Ok(())
    } else if is_encoding {
        cx.reply.simple(if encoding == Encoding::Dense { "dense" } else { "sparse" });
        Ok(())
    } else if is_todense {
        let changes = make_dense(cx)?;
        cx.reply.integer(i64::from(changes));
        Ok(())
    } else {
        let name = String::from_utf8_lossy(cx.args.at(1));
        Err(CommandError::Other(format!("ERR Unknown PFDEBUG subcommand '{name}'").into()))
    }
}

/// `PFDEBUG SIMD ON|OFF`.
fn simd(cx: &mut Context<'_, '_>) -> CommandResult {
    let choice = cx.args.at(2);
    let is_on = choice.eq_ignore_ascii_case(b"ON");
    if !is_on && !choice.eq_ignore_ascii_case(b"OFF") {
        return Err(CommandError::text("ERR Argument must be ON or OFF"));
    }
    cx.reply.simple(if hyperloglog::set_wide(is_on) { "enabled" } else { "disabled" });
    Ok(())
}

/// `PFDEBUG GETREG key`: all registers. The key becomes dense.
fn getreg(cx: &mut Context<'_, '_>) -> CommandResult {
    make_dense(cx)?;
    let record = cx.keys.peek(cx.key(2)).expect("the key was just seen");
    let mut registers = Registers::new();
    registers.merge(&expect_hll(record)?.0.text())?;
    cx.reply.array(registers.values().len());
    for &value in registers.values() {
        cx.reply.integer(i64::from(value));
    }
    Ok(())
}

/// Makes the key dense, which is there. Returns whether it was not.
fn make_dense(cx: &mut Context<'_, '_>) -> Result<bool, CommandError> {
    let key = cx.key(2);
    let record = cx.keys.find_mut(key).expect("the key was just seen");
    let (string, encoding) = expect_hll(record.get())?;
    if encoding == Encoding::Dense {
        return Ok(false);
    }
    let mut bytes = string.text().into_owned();
    hyperloglog::to_dense(&mut bytes)?;
    part::edit(record, 0, |old| *old = bytes)?;
    cx.keys.note_change(key);
    Ok(true)
}

pub(super) const PFSELFTEST: Command = Command::new("PFSELFTEST", pfselftest)
    .summary("Tests the code behind HyperLogLogs.")
    .syntax("")
    .since("2.8.9")
    .complexity("O(1), a million elements are counted.")
    .arity(1)
    .flag(Flags::ADMIN);

fn pfselftest(cx: &mut Context<'_, '_>) -> CommandResult {
    hyperloglog::self_test(cx.random, cx.limits.hll_sparse_max_bytes)
        .map_err(|what| CommandError::Other(format!("ERR TESTFAILED {what}").into()))?;
    cx.reply.ok();
    Ok(())
}
