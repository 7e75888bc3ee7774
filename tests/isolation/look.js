// Says what it was given and whether it finds a mark that a script before it left; then leaves its own wherever it can.
const variables = [];
module.exports = async (context, { onEvent }) => {
  const body = onEvent.results.body.data;
  const { Folder, Account, Service } = context.configVars;
  const mark = `mark of ${body.case}`;
  const spots = {
    globalThis: [() => globalThis.mark, () => { globalThis.mark = mark; }],
    'JSON.parse': [() => JSON.parse('{}').mark, () => {
      const { parse } = JSON;
      JSON.parse = (...all) => Object.assign(parse(...all), { mark });
    }],
    'JSON.stringify': [() => JSON.stringify.mark, () => { JSON.stringify.mark = mark; }],
    'Array.prototype': [() => [].mark, () => { Array.prototype.mark = mark; }],
    'Array.prototype.map': [() => [1].map((one) => one).mark, () => {
      const { map } = Array.prototype;
      Array.prototype.map = function (...all) { return Object.assign(map.apply(this, all), { mark }); };
    }],
    'Object.prototype': [() => ({}).mark, () => { Object.prototype.mark = mark; }],
    '__proto__': [() => Object.create(null, {}).mark, () => { Object.getPrototypeOf({}).mark = mark; }],
    'Object.keys': [() => Object.keys.mark, () => { Object.defineProperty(Object.keys, 'mark', { value: mark }); }],
    'Function.prototype': [() => (() => {}).mark, () => { Function.prototype.mark = mark; }],
    'async functions': [() => (async () => {}).constructor.mark, () => { (async () => {}).constructor.mark = mark; }],
    generators: [() => Object.getPrototypeOf(function* () {}).mark, () => { Object.getPrototypeOf(function* () {}).mark = mark; }],
    iterators: [() => [][Symbol.iterator]().mark, () => { Object.getPrototypeOf([][Symbol.iterator]()).mark = mark; }],
    'Promise.prototype.then': [() => Promise.prototype.then.mark, () => {
      const { then } = Promise.prototype;
      Promise.prototype.then = function (...all) { return then.apply(this, all); };
      Promise.prototype.then.mark = mark;
    }],
    'String.prototype': [() => 'text'.mark, () => { String.prototype.mark = mark; }],
    'RegExp.prototype': [() => /x/.mark, () => { RegExp.prototype.mark = mark; }],
    'Map.prototype.get': [() => Map.prototype.get.mark, () => { Map.prototype.get.mark = mark; }],
    'Error.prototype': [() => new Error('none').mark, () => { Error.prototype.mark = mark; }],
    'Symbol.for': [() => Symbol.for('mark').constructor.mark, () => { Symbol.for('mark').constructor.mark = mark; }],
    'Math.random': [() => Math.random.mark, () => { Math.random.mark = mark; }],
    variables: [() => variables[0], () => { variables.push(mark); }],
    module: [() => module.mark ?? module.exports.mark, () => { module.mark = mark; module.exports.mark = mark; }],
    exports: [() => exports.mark, () => { exports.mark = mark; }],
    require: [() => require.mark, () => { require.mark = mark; }],
    console: [() => console.mark, () => { console.mark = mark; }],
    fetch: [() => fetch.mark, () => { fetch.mark = mark; }],
    setTimeout: [() => setTimeout.mark, () => { setTimeout.mark = mark; }],
    context: [() => context.mark, () => { context.mark = mark; }],
    results: [() => onEvent.results.mark, () => { onEvent.results.mark = mark; }],
  };
  const found = () => Object.entries(spots).flatMap(([name, [look]]) => {
    const seen = look();
    return seen === undefined ? [] : [`${name}: ${seen}`];
  });
  const names = Object.getOwnPropertyNames(globalThis).sort().join(' ');
  const texts = [JSON.parse, Array.prototype.map, Promise.prototype.then, Object.keys].map(String).join(' ');
  const leaks = found();
  for (const [, leave] of Object.values(spots)) {
    try { leave(); } catch { /* it is frozen */ }
  }
  const left = found();
  return {
    data: {
      case: body.case,
      customer: context.customer.externalId,
      user: context.user?.externalId ?? null,
      payloadUser: onEvent.results.user?.externalId ?? null,
      folder: Folder,
      account: Account?.fields.token ?? null,
      service: Service?.fields.token ?? null,
      leaks,
      left: left.length,
      realm: `${names} ${texts}`,
    },
  };
};
