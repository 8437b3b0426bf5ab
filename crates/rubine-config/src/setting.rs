//! How a field of the configuration is read from text and printed. One implementation a type; no
//! implementation knows the name of the directive it serves.

use rubine_base::number::parse_i64;
use rubine_base::quote::quote_repr;

/// How numbers in a directive's text are read and printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Not a number: the type alone decides.
    Plain,
    /// A decimal integer.
    Number { min: i128, max: i128 },
    /// Bytes, with an optional unit: `1k` is 1000, `1kb` is 1024.
    Memory { min: i128, max: i128 },
    /// Bytes with an optional unit, or a negative integer with a meaning of its own.
    SignedMemory { min: i128, max: i128 },
    /// An octal integer: permissions.
    Octal { min: i128, max: i128 },
}

/// A field of the configuration.
pub(crate) trait Setting {
    /// Takes a new value. The error is the text that CONFIG SET answers.
    fn assign(&mut self, arguments: &[&[u8]], rule: Rule) -> Result<(), String>;

    /// The value as CONFIG GET prints it.
    fn text(&self, rule: Rule) -> Vec<u8>;

    /// The value as it stands behind the name in a file, a line an element. None: it is not written.
    fn lines(&self, rule: Rule) -> Vec<Vec<u8>> {
        vec![self.text(rule)]
    }
}

/// The one argument of a directive that takes one.
pub(super) fn only<'a>(arguments: &[&'a [u8]]) -> Result<&'a [u8], String> {
    match arguments {
        [argument] => Ok(argument),
        _ => Err("wrong number of arguments".to_owned()),
    }
}

pub(super) fn utf8(argument: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(argument).map_err(|_| "argument must be valid UTF-8".to_owned())
}

/// Reads bytes with an optional unit. Units with a `b` are powers of 1024, those without of 1000.
/// Nothing at all is 0, as templates that fill in nothing rely on.
pub fn parse_memory(argument: &[u8]) -> Option<u64> {
    if argument.is_empty() {
        return Some(0);
    }
    let text = std::str::from_utf8(argument).ok()?;
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1000 * 1000,
        "mb" => 1 << 20,
        "g" => 1000 * 1000 * 1000,
        "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Writes bytes with the largest unit that loses nothing.
pub(super) fn format_memory(bytes: u64) -> String {
    const UNITS: [(u32, &str); 3] = [(30, "gb"), (20, "mb"), (10, "kb")];
    let unit =
        UNITS.iter().find(|(shift, _)| bytes != 0 && bytes.trailing_zeros() >= *shift).copied();
    let (shift, name) = unit.unwrap_or((0, ""));
    format!("{}{name}", bytes >> shift)
}

fn parse_number(argument: &[u8], rule: Rule) -> Result<i128, String> {
    let number = match rule {
        Rule::Plain | Rule::Number { .. } => {
            parse_i64(argument).map(i128::from).ok_or("argument couldn't be parsed into an integer")
        }
        Rule::Memory { .. } => {
            parse_memory(argument).map(i128::from).ok_or("argument must be a memory value")
        }
        Rule::SignedMemory { .. } => parse_memory(argument)
            .map(i128::from)
            .or_else(|| parse_i64(argument).map(i128::from))
            .ok_or("argument must be a memory value"),
        Rule::Octal { .. } => utf8(argument)
            .ok()
            .and_then(|text| i64::from_str_radix(text, 8).ok())
            .map(i128::from)
            .ok_or("argument couldn't be parsed as an octal number"),
    }?;
    match rule {
        Rule::Number { min, max } | Rule::Memory { min, max } | Rule::SignedMemory { min, max }
            if number < min || max < number =>
        {
            Err(format!("argument must be between {min} and {max} inclusive"))
        }
        Rule::Octal { min, max } if number < min || max < number => {
            Err(format!("argument must be between {min:o} and {max:o} inclusive"))
        }
        _ => Ok(number),
    }
}

macro_rules! number_settings {
    ($($type:ty)*) => {$(
        impl Setting for $type {
            fn assign(&mut self, arguments: &[&[u8]], rule: Rule) -> Result<(), String> {
                let number = parse_number(only(arguments)?, rule)?;
                *self = <$type>::try_from(number)
                    .map_err(|_| "argument couldn't be parsed into an integer".to_owned())?;
                Ok(())
            }

            fn text(&self, rule: Rule) -> Vec<u8> {
                match rule {
                    Rule::Octal { .. } => format!("{self:o}").into_bytes(),
                    _ => self.to_string().into_bytes(),
                }
            }

            fn lines(&self, rule: Rule) -> Vec<Vec<u8>> {
                vec![match (rule, u64::try_from(*self)) {
                    (Rule::Memory { .. } | Rule::SignedMemory { .. }, Ok(bytes)) => {
                        format_memory(bytes).into_bytes()
                    }
                    _ => self.text(rule),
                }]
            }
        }
    )*};
}

number_settings!(u8 u16 u32 u64 usize i32 i64);

impl Setting for bool {
    fn assign(&mut self, arguments: &[&[u8]], _: Rule) -> Result<(), String> {
        let argument = only(arguments)?;
        *self = if argument.eq_ignore_ascii_case(b"yes") {
            true
        } else if argument.eq_ignore_ascii_case(b"no") {
            false
        } else {
            return Err("argument must be 'yes' or 'no'".to_owned());
        };
        Ok(())
    }

    fn text(&self, _: Rule) -> Vec<u8> {
        if *self { b"yes".to_vec() } else { b"no".to_vec() }
    }
}

impl Setting for String {
    fn assign(&mut self, arguments: &[&[u8]], _: Rule) -> Result<(), String> {
        utf8(only(arguments)?)?.clone_into(self);
        Ok(())
    }

    fn text(&self, _: Rule) -> Vec<u8> {
        self.clone().into_bytes()
    }

    fn lines(&self, _: Rule) -> Vec<Vec<u8>> {
        vec![quote_repr(self.as_bytes()).into_bytes()]
    }
}

impl Setting for Vec<u8> {
    fn assign(&mut self, arguments: &[&[u8]], _: Rule) -> Result<(), String> {
        *self = only(arguments)?.to_vec();
        Ok(())
    }

    fn text(&self, _: Rule) -> Vec<u8> {
        self.clone()
    }

    fn lines(&self, _: Rule) -> Vec<Vec<u8>> {
        vec![quote_repr(self).into_bytes()]
    }
}

/// An empty argument unsets it; unset, it has no line in a file.
impl<T: Setting + Default> Setting for Option<T> {
    fn assign(&mut self, arguments: &[&[u8]], rule: Rule) -> Result<(), String> {
        if only(arguments)?.is_empty() {
            *self = None;
            return Ok(());
        }
        let mut value = T::default();
        value.assign(arguments, rule)?;
        *self = Some(value);
        Ok(())
    }

    fn text(&self, rule: Rule) -> Vec<u8> {
        self.as_ref().map(|value| value.text(rule)).unwrap_or_default()
    }

    fn lines(&self, rule: Rule) -> Vec<Vec<u8>> {
        self.as_ref().map(|value| value.lines(rule)).unwrap_or_default()
    }
}

/// Declares an enumeration whose variants have names in the configuration. The first name of a
/// variant is the one that is printed.
macro_rules! named_enum {
    ($(#[$meta:meta])* $type:ident { $($variant:ident = $first:literal $(| $other:literal)*),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $($variant),* }

        impl $type {
            /// The name in configuration files.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $first),* }
            }
        }

        impl Setting for $type {
            fn assign(&mut self, arguments: &[&[u8]], _: Rule) -> Result<(), String> {
                const NAMES: &[(&str, $type)] =
                    &[$(($first, $type::$variant) $(, ($other, $type::$variant))*),*];
                *self = crate::setting::choose(NAMES, only(arguments)?)?;
                Ok(())
            }

            fn text(&self, _: Rule) -> Vec<u8> {
                self.name().as_bytes().to_vec()
            }
        }
    };
}
pub(super) use named_enum;

/// The value that goes by `argument` in a list of names, or the error that lists them.
pub(super) fn choose<T: Copy>(names: &[(&str, T)], argument: &[u8]) -> Result<T, String> {
    let chosen = names.iter().find(|(name, _)| argument.eq_ignore_ascii_case(name.as_bytes()));
    chosen.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        format!("argument(s) must be one of the following: {}", names.join(", "))
    })
}
