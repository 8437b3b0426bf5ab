//! Expressions against values that a test makes up.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Evaluator, Expression};
use crate::labels::Labels;
use crate::values::{Values, Visit};

/// Metrics by name: labels as `a=b,c=d`, and values.
#[derive(Default)]
struct Fake(BTreeMap<&'static str, Vec<(&'static str, f64)>>);

impl Values for Fake {
    fn visit(&self, metric: &str, visit: &mut Visit<'_>) -> bool {
        let Some(series) = self.0.get(metric) else {
            return false;
        };
        for (labels, value) in series {
            let labels: Vec<_> = labels.split(',').filter_map(|it| it.split_once('=')).collect();
            visit(&labels, *value);
        }
        true
    }
}

fn text_of(series: &[(Labels, f64)]) -> String {
    let one = |(labels, value): &(Labels, f64)| {
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{{{}}} {value}", labels.join(","))
    };
    series.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn once(text: &str, values: &Fake) -> String {
    let expression = Expression::parse(text).unwrap_or_else(|it| panic!("{text}: {it}"));
    match Evaluator::new(expression).evaluate(1_000_000, 0, values) {
        Ok(series) => text_of(&series),
        Err(error) => error.to_string(),
    }
}

#[test]
fn values_and_operators() {
    let values = Fake(BTreeMap::from([
        ("used", vec![("", 95.0)]),
        ("max", vec![("", 100.0)]),
        ("unset", vec![("", 0.0)]),
        ("none", vec![]),
        ("keys", vec![("db=db0", 10.0), ("db=db1", 0.0), ("db=db10", 3.0)]),
        ("expiring", vec![("db=db0", 4.0), ("db=db1", 0.0)]),
        ("calls", vec![("cmd=get,kind=r", 5.0), ("cmd=set,kind=w", 7.0), ("cmd=mget,kind=r", 1.0)]),
        ("nan", vec![("", f64::NAN)]),
    ]));
    for (text, expected) in [
        ("1 + 2 * 3 - 4 / 2", "{} 5"),
        ("-(1 + 2) * 2", "{} -6"),
        ("10 - 3 - 2", "{} 5"),
        ("7 % 4", "{} 3"),
        ("1 < 2", "{} 1"),
        ("2 < 1", ""),
        ("time()", "{} 1000"),
        ("1.5e3 + .5", "{} 1500.5"),
        ("used", "{} 95"),
        ("100 * used / max > 90", "{} 95"),
        ("90 < 100 * used / max", "{} 95"),
        ("used / max > 0.96", ""),
        // A limit that is not set.
        ("used / unset > 0.9", ""),
        ("used % unset >= 0", ""),
        ("1 / 0", ""),
        ("none > 0", ""),
        ("nan > 0", ""),
        ("nan != 0", "{} NaN"),
        ("missing > 0", "there is no metric 'missing'"),
        ("absent(missing)", "{} 1"),
        ("absent(none)", "{} 1"),
        ("absent(used)", ""),
        ("absent(keys{db=\"db9\"})", "{} 1"),
        ("keys > 5", "{db=db0} 10"),
        ("keys{db=\"db0\"}", "{db=db0} 10"),
        ("keys{db!='db0', } > 0", "{db=db10} 3"),
        ("keys{db=~\"db1.*\"}", "{db=db1} 0; {db=db10} 3"),
        ("keys{db=~\"db1\"}", "{db=db1} 0"),
        ("keys{db!~\"db1.*\"}", "{db=db0} 10"),
        ("expiring / keys", "{db=db0} 0.4"),
        ("keys - expiring", "{db=db0} 6; {db=db1} 0"),
        ("keys > max", ""),
        ("max > keys", "{db=db0} 100; {db=db1} 100; {db=db10} 100"),
        ("sum(keys)", "{} 13"),
        ("max(keys) - min(keys)", "{} 10"),
        ("avg(expiring)", "{} 2"),
        ("count(keys > 0)", "{} 2"),
        ("count(none)", ""),
        ("sum by (kind) (calls)", "{kind=r} 6; {kind=w} 7"),
        ("sum(calls) by (kind, x)", "{kind=r} 6; {kind=w} 7"),
        ("abs(-3)", "{} 3"),
        ("keys > 5 or used > 90", "{db=db0} 10; {} 95"),
        ("keys and expiring > 0", "{db=db0} 10"),
        ("keys unless expiring", "{db=db10} 3"),
        ("used > 90 and count(keys) > 1", "{} 95"),
        ("used > 90 and keys > 100", ""),
        ("used > 90 and keys > 5", "{} 95"),
        ("used > 90 unless keys > 100", "{} 95"),
        ("keys and unset", "{db=db0} 10; {db=db1} 0; {db=db10} 3"),
        ("used > 90 AND max == 100", "{} 95"),
    ] {
        assert_eq!(once(text, &values), expected, "{text}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, expected) in [
        ("", "at character 1: expected a metric, a number or a bracket, found the end"),
        ("a >", "at character 4: expected a metric, a number or a bracket, found the end"),
        ("a b", "at character 3: expected an operator or the end, found 'b'"),
        ("(a", "at character 3: expected ')', found the end"),
        ("a{", "at character 3: expected the name of a label, found the end"),
        ("a{b}", "at character 4: expected =, !=, =~ or !~, found '}'"),
        ("a{b=c}", "at character 5: expected a text in quotes, found 'c'"),
        ("a{b=~\"(\"}", "at character 3: '(' is no regular expression, or too large a one"),
        ("a[5m]", "at character 2: a window needs a function such as rate or increase around it"),
        ("rate(a)", "at character 7: expected '[', found ')'"),
        ("rate(a[5x])", "at character 8: a window is a time of up to a day, such as 5m"),
        ("rate(a[2d])", "at character 8: a window is a time of up to a day, such as 5m"),
        ("rate(a[0s])", "at character 8: a window is a time of up to a day, such as 5m"),
        ("rate(5[5m])", "at character 6: expected the name of a metric, found '5'"),
        ("rtae(a[5m])", "at character 1: there is no function 'rtae'"),
        ("abs by (x) (a)", "at character 1: 'abs' does not go by labels"),
        ("a > 5gb", "at character 5: '5gb' is no number"),
        ("a > 1e999", "at character 5: '1e999' is no number"),
        ("a ä b", "at character 3: 'ä' has no meaning here"),
        ("\"äö\" + ?", "at character 8: '?' has no meaning here"),
        ("a{b=\"c", "at character 5: the text in quotes does not end"),
    ] {
        let error = Expression::parse(text).expect_err(text);
        assert_eq!(error.to_string(), expected, "{text}");
    }
}

#[test]
fn size_and_depth_are_bounded() {
    let deep = format!("{}1{}", "(".repeat(40), ")".repeat(40));
    assert!(Expression::parse(&deep).unwrap_err().reason.contains("32 deep"));
    let minus = format!("{}1", "-".repeat(2000));
    assert!(Expression::parse(&minus).unwrap_err().reason.contains("32 deep"));
    let many = vec!["1"; 200].join("+");
    assert!(Expression::parse(&many).unwrap_err().reason.contains("256 parts"));
    let long = "1".repeat(5000);
    assert!(Expression::parse(&long).unwrap_err().reason.contains("4096 bytes"));
}

#[test]
fn metrics_are_named_once() {
    let text = "rate(a[5m]) / sum(b) > 1 and absent(c) or a > 0";
    assert_eq!(Expression::parse(text).unwrap().metrics(), ["a", "b", "c"]);
}

/// Values of one metric over time, 5 s apart, and what an expression makes of the last.
fn over_time(text: &str, values: &[f64]) -> String {
    let mut evaluator = Evaluator::new(Expression::parse(text).unwrap());
    let mut last = String::new();
    for (index, value) in values.iter().enumerate() {
        let fake = Fake(BTreeMap::from([("m", vec![("", *value)])]));
        let series = evaluator.evaluate(0, index as u64 * 5000, &fake).unwrap();
        last = text_of(&series);
    }
    last
}

#[test]
fn windows_look_back() {
    for (text, values, expected) in [
        // One value is no stretch of time yet.
        ("increase(m[1m])", &[5.0][..], ""),
        ("rate(m[1m])", &[5.0], ""),
        ("max_over_time(m[1m])", &[5.0], "{} 5"),
        ("increase(m[1m])", &[5.0, 7.0, 12.0], "{} 7"),
        ("rate(m[1m])", &[5.0, 7.0, 12.0], "{} 0.7"),
        // Counters that begin anew.
        ("increase(m[1m])", &[100.0, 110.0, 3.0, 5.0], "{} 15"),
        // Only what is inside the window.
        ("increase(m[10s])", &[0.0, 100.0, 200.0, 201.0, 203.0], "{} 3"),
        ("rate(m[10s])", &[0.0, 100.0, 200.0, 201.0, 203.0], "{} 0.3"),
        ("max_over_time(m[10s])", &[9.0, 8.0, 3.0, 1.0, 2.0], "{} 2"),
        ("min_over_time(m[10s])", &[0.0, 8.0, 3.0, 1.0, 2.0], "{} 1"),
        ("avg_over_time(m[1m])", &[1.0, 2.0, 6.0], "{} 3"),
        ("m < max_over_time(m[1h])", &[2.0, 2.0, 1.0], "{} 1"),
    ] {
        assert_eq!(over_time(text, values), expected, "{text} {values:?}");
    }
}

#[test]
fn long_windows_lose_nothing_of_counters() {
    let values: Vec<f64> = (0..1000).map(|it| f64::from(it) * 10.0).collect();
    assert_eq!(over_time("increase(m[2h])", &values), "{} 9990");
    // An hour is 720 values, in steps of a minute.
    let increase = over_time("increase(m[1h])", &values);
    let increase: f64 = increase.trim_start_matches("{} ").parse().unwrap();
    assert!((7200.0..=7330.0).contains(&increase), "{increase}");
    assert!(over_time("rate(m[1h])", &values) == "{} 2");
}

#[test]
fn a_series_that_appears_was_nothing_before() {
    let mut evaluator = Evaluator::new(Expression::parse("increase(e[1m])").unwrap());
    let first = Fake(BTreeMap::from([("e", vec![("err=ERR", 50.0)])]));
    assert_eq!(evaluator.evaluate(0, 0, &first).unwrap(), []);
    let second = Fake(BTreeMap::from([("e", vec![("err=ERR", 50.0), ("err=OOM", 3.0)])]));
    let series = evaluator.evaluate(0, 5000, &second).unwrap();
    assert_eq!(text_of(&series), "{err=ERR} 0; {err=OOM} 3");
}

#[test]
fn series_are_bounded() {
    struct Many;
    impl Values for Many {
        fn visit(&self, _: &str, visit: &mut Visit<'_>) -> bool {
            (0..3000).for_each(|it| visit(&[("n", &it.to_string())], 1.0));
            true
        }
    }
    let mut evaluator = Evaluator::new(Expression::parse("sum(m)").unwrap());
    let error = evaluator.evaluate(0, 0, &Many).unwrap_err();
    assert_eq!(error.to_string(), "more than 2000 series of 'm' are too many");
}

proptest! {
    #[test]
    fn no_text_panics(text in "[a-c0-9(){}\\[\\]=~!<>+*/%\"', .-]{0,40}") {
        if let Ok(expression) = Expression::parse(&text) {
            let values = Fake(BTreeMap::from([("a", vec![("b=c", 1.0)]), ("b", vec![])]));
            let mut evaluator = Evaluator::new(expression);
            let _ = evaluator.evaluate(0, 0, &values);
            let _ = evaluator.evaluate(5000, 5000, &values);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        if let Err(error) = Expression::parse(&text) {
            prop_assert!(error.position <= 1 + text.chars().count());
        }
    }
}
