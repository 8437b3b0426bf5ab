//! Which processors a thread may run on, as the four `..-cpulist` directives say it. What cannot be followed is told in
//! the log and changes nothing.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use rubine_config::Config;

/// Lets the calling thread, and those that it starts, run on the processors of `list` only.
pub(crate) fn pin(list: Option<&str>) {
    let Some(set) = list.and_then(parse) else { return };
    if let Err(error) = sched_setaffinity(None, &set) {
        let (list, name) = (list.unwrap_or_default(), std::thread::current());
        let name = name.name().unwrap_or("thread").to_owned();
        tracing::warn!("Can't let '{name}' run on the processors {list} only: {error}");
    }
}

/// Tells the log of lists that nobody can read.
pub(crate) fn check(config: &Config) {
    let lists = [
        ("server-cpulist", &config.server_cpulist),
        ("bio-cpulist", &config.bio_cpulist),
        ("aof-rewrite-cpulist", &config.aof_rewrite_cpulist),
        ("bgsave-cpulist", &config.bgsave_cpulist),
    ];
    for (name, list) in lists {
        if let Some(list) = list
            && parse(list).is_none()
        {
            tracing::warn!(
                "'{name}' is ignored: '{list}' is no list of processors such as 1,3-5 or 0-7:2"
            );
        }
    }
}

/// How many processors threads with this list have between them.
pub(crate) fn processor_count(list: Option<&str>) -> usize {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let listed = list.and_then(parse).and_then(|set| {
        let allowed = sched_getaffinity(None).ok()?;
        let both = |cpu: &usize| set.is_set(*cpu) && allowed.is_set(*cpu);
        Some((0..CpuSet::MAX_CPU).filter(both).count()).filter(|count| *count != 0)
    });
    listed.map_or(available, |listed| listed.min(available))
}

/// Reads `1`, `1-5` and `0-7:2`, with commas between. Numbers beyond those that the system could have stand for nothing.
fn parse(list: &str) -> Option<CpuSet> {
    let mut set = CpuSet::new();
    for item in list.split(',') {
        let (first, last, step) = match item.split_once('-') {
            None => (number(item)?, number(item)?, 1),
            Some((first, rest)) => match rest.split_once(':') {
                None => (number(first)?, number(rest)?, 1),
                Some((last, step)) => (number(first)?, number(last)?, number(step)?),
            },
        };
        if last < first || step == 0 {
            return None;
        }
        let last = last.min(CpuSet::MAX_CPU - 1);
        (first..=last).step_by(step).for_each(|cpu| set.set(cpu));
    }
    Some(set)
}

fn number(text: &str) -> Option<usize> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::{CpuSet, parse};

    #[test]
    fn lists_are_read_as_other_servers_do() {
        let read = |list: &str| {
            parse(list).map(|set| (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
        };
        let readable: [(&str, &[usize]); 8] = [
            ("0", &[0]),
            ("1,3", &[1, 3]),
            ("1,10-11", &[1, 10, 11]),
            ("0-7:2", &[0, 2, 4, 6]),
            ("8-11,0-1:3", &[0, 8, 9, 10, 11]),
            ("5-5", &[5]),
            ("1022-4000", &[1022, 1023]),
            ("99999", &[]),
        ];
        for (list, cpus) in readable {
            assert_eq!(read(list), Some(cpus.to_vec()), "{list}");
        }
        for list in
            ["", ",", "1,", "x", "1 ", " 1", "-1", "3-1", "0-7:0", "0-7:", "1:2", "0-", "+1"]
        {
            assert_eq!(read(list), None, "{list}");
        }
    }
}
