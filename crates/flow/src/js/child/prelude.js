// What every run stands on: the calling convention, the logger, fetch and timers. Evaluated once in each realm,
// before any script; with `lock`, every object a script can reach is then frozen, so that nothing survives a run.
(host, lock) => {
  'use strict';
  const { defineProperty, getOwnPropertyDescriptor, getPrototypeOf, freeze } = Object;
  const { ownKeys } = Reflect;
  const { Map } = globalThis;
  const stringify = JSON.stringify;
  const hasOwn = Object.hasOwn;

  // Half a pair of UTF-16, such as a cut emoji, can leave this process only as U+FFFD: what is outside is UTF-8.
  const wellFormed = Function.prototype.call.bind(String.prototype.toWellFormed);
  const jsonOf = (value) => {
    const json = stringify(value) ?? 'null';
    // A half is written as an escape, a whole pair is not.
    return json.includes('\\ud') ? json.replace(/\\(ud[0-9a-f]{3}|.)/g, (escape, half) => (half.length > 1 ? '\ufffd' : escape)) : json;
  };

  const text = (value) => {
    try {
      if (typeof value === 'string') return value;
      if (value instanceof Error) return value.stack ? `${value}\n${value.stack}` : `${value}`;
      if (typeof value === 'object' && value !== null) return stringify(value) ?? String(value);
      return String(value);
    } catch {
      return '[a value that cannot be shown]';
    }
  };

  const logger = (run) => {
    const at = (level) => (...parts) => host.log(run.id, level, wellFormed(parts.map(text).join(' ')));
    const [trace, debug, info, warn, error, fatal, metric] = [at(0), at(1), at(2), at(3), at(4), at(5), at(6)];
    return { trace, debug, info, log: info, warn, error, fatal, metric };
  };

  // A property of `run.context` or `run.stepResults` that is read, and paid for, on first use. It knows its object by way of the
  // run, which forgets it at its end: what knew it by itself would be a circle, which only a search of the whole realm finds.
  const lazy = (run, of, name, load) => {
    const settle = (value) => defineProperty(run[of], name, { value, writable: true, enumerable: true, configurable: true });
    defineProperty(run[of], name, {
      get: () => { const value = load(); settle(value); return value; },
      set: settle, enumerable: true, configurable: true,
    });
  };

  const pairs = (headers) => {
    if (headers === undefined || headers === null) return [];
    const list = Array.isArray(headers) ? headers
      : typeof headers.entries === 'function' ? [...headers.entries()] : Object.entries(headers);
    return list.map(([name, value]) => [wellFormed(String(name)), wellFormed(String(value))]);
  };

  const headersOf = (list) => {
    const map = new Map();
    for (const [name, value] of list) map.set(name, map.has(name) ? `${map.get(name)}, ${value}` : value);
    return {
      get: (name) => map.get(String(name).toLowerCase()) ?? null,
      has: (name) => map.has(String(name).toLowerCase()),
      forEach: (each) => map.forEach((value, name) => each(value, name)),
      entries: () => map.entries(),
      keys: () => map.keys(),
      values: () => map.values(),
      [Symbol.iterator]: () => map.entries(),
    };
  };

  const fetchOf = (run) => (input, init = {}) => new Promise((resolve, reject) => {
    const { method = 'GET', headers, body } = init ?? {};
    if (body !== undefined && body !== null && typeof body !== 'string') {
      throw new TypeError('fetch takes a string as body; use JSON.stringify for objects');
    }
    const url = String(typeof input === 'object' && input !== null && 'href' in input ? input.href : input);
    const call = host.fetch(run.id, wellFormed(String(method)).toUpperCase(), wellFormed(url), pairs(headers), wellFormed(body ?? ''));
    (run.fetches ??= new Map()).set(call, { resolve, reject, url });
  });

  const timersOf = (run) => ({
    setTimeout: (callback, ms = 0, ...args) => {
      if (typeof callback !== 'function') throw new TypeError('setTimeout takes a function');
      const id = host.timer(run.id, Number(ms) || 0);
      (run.timers ??= new Map()).set(id, () => callback(...args));
      return id;
    },
    clearTimeout: (id) => { if (run.timers?.delete(id)) host.clear(run.id, id); },
  });

  // Whatever a script is given besides the realm is made anew for each run: it is not frozen.
  const requireOf = () => (name) => { throw new Error(`require('${String(name)}') is not available in code steps`); };

  // What a code step gives is its `data`; what a data source gives is its `result`, or all of what it returned.
  const dataOf = (returned) => returned?.data;
  const resultOf = (returned) => (typeof returned === 'object' && returned !== null && hasOwn(returned, 'result') ? returned.result : returned);

  const drive = async (run, factory, context, given, partOf) => {
    const module = { exports: {} };
    const { setTimeout, clearTimeout } = timersOf(run);
    factory(module, module.exports, requireOf(), context.logger, fetchOf(run), setTimeout, clearTimeout);
    let main = module.exports;
    if (typeof main !== 'function') main = main?.default;
    if (typeof main !== 'function') {
      throw new TypeError('the code exports no function; write `module.exports = async (context, stepResults) => ({ data })`');
    }
    return jsonOf(partOf(await main(context, given)));
  };

  let current = null;

  const start = (id, factory, names, isSource) => {
    const run = { id, context: host.parse(id, 0), stepResults: {}, fetches: null, timers: null };
    current = run;
    for (let index = 0; index < names.length; index += 1) {
      lazy(run, 'stepResults', names[index], () => ({ results: host.parse(id, index + 2) }));
    }
    let { context, stepResults: given } = run;
    if (isSource) {
      const { configVars, inputs } = host.parse(id, 1);
      const { customer, instance, user } = context;
      context = { customer, instance, user, configVars };
      given = inputs;
    } else {
      lazy(run, 'context', 'configVars', () => host.parse(id, 1));
    }
    context.logger = logger(run);
    drive(run, factory, context, given, isSource ? resultOf : dataOf).then(
      (json) => host.finish(id, true, json),
      (error) => host.finish(id, false, wellFormed(text(error))),
    );
  };

  const settle = (call, error, status, list, body) => {
    const waiting = current?.fetches?.get(call);
    if (!waiting) return;
    current.fetches.delete(call);
    if (error !== null) {
      waiting.reject(new TypeError(error));
      return;
    }
    waiting.resolve({
      ok: status >= 200 && status < 300, status, url: waiting.url, headers: headersOf(list),
      text: async () => body,
      json: async () => JSON.parse(body),
    });
  };

  const fire = (id) => {
    const callback = current?.timers?.get(id);
    if (callback && current.timers.delete(id)) callback();
  };

  const stop = () => {
    if (current) current.context = current.stepResults = current.fetches = current.timers = null;
    current = null;
  };

  const lockdown = () => {
    // Whatever remembers something outside the objects that are frozen below.
    for (const name of ['WeakRef', 'FinalizationRegistry']) delete globalThis[name];
    for (const name of ['prepareStackTrace', 'stackTraceLimit', 'captureStackTrace']) delete Error[name];

    const seen = new Set();
    const queue = [];
    const visit = (value) => {
      if ((typeof value === 'object' && value !== null) || typeof value === 'function') {
        if (!seen.has(value)) {
          seen.add(value);
          queue.push(value);
        }
      }
    };

    // A frozen prototype forbids `object.name = …` on everything that inherits it; as an accessor the property gives
    // its value and lets the heir define its own.
    const repair = (prototype) => {
      for (const key of ownKeys(prototype)) {
        const property = getOwnPropertyDescriptor(prototype, key);
        if (typeof key !== 'string' || !('value' in property) || !property.configurable) continue;
        const { value, enumerable } = property;
        // Behind an accessor the walk does not see it.
        visit(value);
        const get = () => value;
        const set = function (own) {
          if (this === prototype || this === undefined || this === null) throw new TypeError(`cannot assign to read only property '${key}'`);
          defineProperty(this, key, { value: own, writable: true, enumerable: true, configurable: true });
        };
        defineProperty(prototype, key, { get, set, enumerable, configurable: false });
      }
    };
    const errors = ['Error', 'AggregateError', 'EvalError', 'RangeError', 'ReferenceError', 'SyntaxError', 'TypeError', 'URIError', 'InternalError'];
    const repaired = ['Object', 'Array', 'Function', 'Promise', ...errors];

    // Intrinsics that no global names.
    const hidden = [
      function* () {}, async function () {}, async function* () {}, () => {}, [][Symbol.iterator](), new Map().entries(), new Set().entries(),
      ''[Symbol.iterator](), 'a'.matchAll(/a/g), [].values().map((x) => x), (function* () {})(), (async function* () {})(),
      Iterator.from({ next() {} }), (function () { return arguments; })(),
    ];
    for (const name of repaired) if (hasOwn(globalThis, name)) repair(globalThis[name].prototype);
    for (const value of [globalThis, ...hidden]) visit(value);
    while (queue.length > 0) {
      const value = queue.pop();
      freeze(value);
      visit(getPrototypeOf(value));
      for (const key of ownKeys(value)) {
        const property = getOwnPropertyDescriptor(value, key);
        visit(property.value);
        visit(property.get);
        visit(property.set);
      }
    }
  };
  // The engine's own generator is never started: a run could compute from its values what an earlier one drew.
  // A function of the host has the prototype of the runtime's first realm, which is another than a fresh one.
  Math.random = Object.setPrototypeOf(host.random, Function.prototype);
  if (lock) lockdown();
  return { start, settle, fire, stop };
}
