//! The style and the script of the console: two files, as they stand in the source. Nothing is loaded from elsewhere.

use hyper::StatusCode;

use crate::reply::{Reply, reply, words};

const STYLE: &str = include_str!("assets/console.css");
const SCRIPT: &str = include_str!("assets/console.js");

pub(super) fn answer(name: &str) -> Reply {
    match name {
        "console.css" => reply(StatusCode::OK, "text/css; charset=utf-8", STYLE),
        "console.js" => reply(StatusCode::OK, "text/javascript; charset=utf-8", SCRIPT),
        _ => words(StatusCode::NOT_FOUND, "there is nothing here"),
    }
}
