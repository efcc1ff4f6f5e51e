'use strict';
// Calls dubbo2.js at the provider of the Java peers, directly at ADDRESS (host:port, IPv4), over a connection for each
// version of the protocol that it knows how to speak. Prints a line of JSON for each call, in the words of the Java
// consumer: what was asked, and what dubbo2.js made of the answer. Ends with 1 if an answer is not as it should be.

const { isDeepStrictEqual } = require('util');
const { DirectlyDubbo, java } = require('dubbo2.js');

const VERSIONS = ['2.0.2', '2.0.0']; // With attachments in responses, and without.
const SERVICE = { dubboInterface: 'lab.api.DemoService' };

const born = new Date(946684800123);
const tags = ['a', '标签', '😀'];
const extra = { k: 7, n: null };
const person = { name: '甲', age: 30, id: 9000000000, score: 1.5, active: true, tags, extra };
const inJava = {
  ...person,
  born,
  color: java.enum('lab.api.Color', 'BLUE'),
  balance: java.BigDecimal('12345678901234567890.12'),
};
const inWords = {
  ...person,
  born: { '@dateMs': +born },
  color: { '@enum': 'lab.api.Color.BLUE' },
  balance: { '@decimal': '12345678901234567890.12' },
};
// As dubbo2.js has what it was answered.
const inScript = {
  ...inWords,
  color: { name: 'BLUE' },
  balance: { value: '12345678901234567890.12' },
  photo: null,
  friend: null,
};
const map = { s: 'str', i: 42, d: 3.25, b: true, list: ['x', 1], map: { 深: '层' } };
const long = '大字符串😀abcé'.repeat(2000);

/** A value as the Java consumer would say it. */
function say(value) {
  if (value instanceof Date) return { '@dateMs': +value };
  if (Array.isArray(value)) return value.map(say);
  if (typeof value === 'string' && value.length > 200) {
    const head = value.slice(0, 8);
    return { '@string': { utf16Len: value.length, utf8Len: Buffer.byteLength(value), head } };
  }
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, say(field)]));
}

const text = value => [['java.lang.String'], [java.String(value)], [value]];
const thrown = (name, message) => ({ exception: { class: name, message } });

// Method, Java types of the arguments, the arguments for dubbo2.js, the same in words, and what must come of it.
const CALLS = [
  ['echo', ...text('hello'), { result: 'hello' }],
  ['echo', ...text('中文 é 😀'), { result: '中文 é 😀' }],
  ['echo', ...text(''), { result: '' }],
  ['bigString', ...text(long), { result: long }],
  ['addInt', ['int', 'int'], [java.int(-2147483643), java.int(2147483638)], [-2147483643, 2147483638], { result: -5 }],
  ['addLong', ['long', 'long'], [java.long(1e15), java.long(1)], [1e15, 1], { result: 1e15 + 1 }],
  ['addDouble', ['double', 'double'], [java.double(0.5), java.double(2.25)], [0.5, 2.25], { result: 2.75 }],
  ['not', ['boolean'], [java.boolean(false)], [false], { result: true }],
  ['person', ['lab.api.Person'], [java.combine('lab.api.Person', inJava)], [inWords], { result: inScript }],
  ['echoMap', ['java.util.Map'], [java.Map(map)], [map], { result: map }],
  ['echoDate', ['java.util.Date'], [java.combine('java.util.Date', born)], [born], { result: born }],
  ['echoArray', ['java.lang.String[]'], [java.array.String(['a', '丙'])], [['a', '丙']], { result: ['a', '丙'] }],
  ['voidCall', ...text('v'), { result: null }],
  ['overloaded', ...text('x'), { result: 'Sx' }],
  ['overloaded', ['int'], [java.int(7)], [7], { result: 'I7' }],
  ['checked', ...text('例外'), thrown('lab.api.BizException', 'business rule broken: 例外')],
  ['runtime', ...text('x'), thrown('java.lang.IllegalStateException', 'runtime trouble: x')],
  ['echo', ...text('grouped'), { result: 'blue:grouped' }, { group: 'blue', version: '2.1.0' }],
  // Nobody has exported this: an answer whose status is not OK.
  ['nothing', ...text('x'), { refused: 'lab.api.NotExported' }, { dubboInterface: 'lab.api.NotExported' }],
];

/** Makes a call and prints its line; whether it went as it should. */
async function call(dubbo, [method, types, args, words, expected, elsewhere]) {
  const { dubboInterface, group, version } = { ...SERVICE, ...elsewhere };
  const service = dubbo.proxyService({ dubboInterface, group, version, methods: { [method]: () => args } });
  const { res, err } = await service[method]();
  let exception = null;
  if (err && expected.exception) exception = { class: err.name, message: err.message };
  else if (err) exception = { class: err.name, message: err.message, rpcCode: 0 };
  const result = say(res);
  const line = {
    method, service: dubboInterface, group: group || null, version: version || null, kind: 'normal',
    paramTypes: types, args: say(words), attachments: {}, wire: { method, twoWay: true }, result, exception,
  };
  console.log(JSON.stringify(line));
  if (expected.refused) return exception !== null && exception.message.includes(expected.refused);
  if (expected.exception) return isDeepStrictEqual(exception, expected.exception);
  return exception === null && isDeepStrictEqual(result, say(expected.result));
}

async function main(dubboAddress) {
  let wrong = 0;
  for (const dubboVersion of VERSIONS) {
    const dubbo = DirectlyDubbo.from({ dubboAddress, dubboVersion, dubboInvokeTimeout: 30 });
    for (const one of CALLS) {
      if (await call(dubbo, one)) continue;
      console.error(`not as expected: ${one[0]}`);
      wrong += 1;
    }
  }
  process.exitCode = wrong ? 1 : 0;
  // It has no way to close its connections.
  process.stdout.write('', () => process.exit());
}

main(process.argv[2]);
