//! Templates of titles: text with variables in braces. Knows no variable itself.

use std::borrow::Cow;

/// Puts the values of variables in place of their names; `{{` is a brace. No blanks are left at the ends. `None` if a
/// brace is not closed or a variable has no value.
pub fn expand_template<'a>(
    template: &str,
    value_of: impl Fn(&str) -> Option<Cow<'a, str>>,
) -> Option<String> {
    let mut expanded = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        expanded.push_str(before);
        if let Some(after) = after.strip_prefix('{') {
            expanded.push('{');
            rest = after;
        } else {
            let (name, after) = after.split_once('}')?;
            expanded.push_str(&value_of(name)?);
            rest = after;
        }
    }
    expanded.push_str(rest);
    Some(expanded.trim_matches(' ').to_owned())
}
