//! The functions of the child that a realm's prelude builds on.

use super::bridge::{Bridge, Outgoing};
use super::random::Random;
use rquickjs::function::Function;
use rquickjs::{Ctx, Object};
use std::cell::RefCell;
use std::time::Duration;

/// The functions that the prelude builds on.
pub(super) fn host<'js>(ctx: &Ctx<'js>, bridge: &Bridge) -> rquickjs::Result<Object<'js>> {
    let host = Object::new(ctx.clone())?;
    let shared = bridge.clone();
    host.set(
        "parse",
        Function::new(ctx.clone(), move |ctx: Ctx<'js>, run: u64, index: usize| {
            let json = shared
                .with(run, |state| state.segments.get_mut(index).map(std::mem::take))
                .flatten();
            ctx.json_parse(json.unwrap_or_else(|| "null".into()))
        })?,
    )?;
    let shared = bridge.clone();
    host.set(
        "log",
        Function::new(ctx.clone(), move |run: u64, level: u8, text: String| {
            shared.with(run, |state| state.log(level, text));
        })?,
    )?;
    let shared = bridge.clone();
    host.set(
        "fetch",
        Function::new(
            ctx.clone(),
            move |ctx: Ctx<'js>, run: u64, method: String, url: String, headers: Vec<Vec<String>>, body: String| {
                let sent = shared.with(run, |state| {
                    if state.fetches >= state.bounds.fetches {
                        return None;
                    }
                    let call = state.fetches;
                    state.fetches += 1;
                    state.waiting.insert(call);
                    let pair = |mut pair: Vec<String>| Some((std::mem::take(pair.get_mut(0)?), std::mem::take(pair.get_mut(1)?)));
                    let headers = headers.into_iter().filter_map(pair).collect();
                    state.outgoing.push(Outgoing {
                        call,
                        method,
                        url,
                        headers,
                        body,
                    });
                    Some(call)
                });
                sent.flatten()
                    .ok_or_else(|| rquickjs::Exception::throw_range(&ctx, "this step calls fetch too often"))
            },
        )?,
    )?;
    let shared = bridge.clone();
    host.set(
        "timer",
        Function::new(ctx.clone(), move |ctx: Ctx<'js>, run: u64, ms: f64| {
            let delay = Duration::from_millis(ms.clamp(0.0, 2_147_483_647.0) as u64);
            let id = shared.with(run, |state| state.timer(delay)).flatten();
            id.ok_or_else(|| rquickjs::Exception::throw_range(&ctx, "this step sets too many timers"))
        })?,
    )?;
    let shared = bridge.clone();
    host.set(
        "clear",
        Function::new(ctx.clone(), move |run: u64, id: u32| {
            shared.with(run, |state| state.timers.retain(|(_, of)| *of != id));
        })?,
    )?;
    let shared = bridge.clone();
    host.set(
        "finish",
        Function::new(ctx.clone(), move |run: u64, ok: bool, text: String| {
            shared.with(run, |state| {
                state.result.get_or_insert(if ok { Ok(text) } else { Err(text) });
            });
        })?,
    )?;
    let random = RefCell::new(Random::new());
    host.set(
        "random",
        Function::new(ctx.clone(), move |ctx: Ctx<'js>| {
            let drawn = random.borrow_mut().draw();
            drawn.map_err(|error| rquickjs::Exception::throw_internal(&ctx, &error.to_string()))
        })?
        .with_name("random")?,
    )?;
    Ok(host)
}
