// As much of Postman's sandbox as the scripts of docs/postman.json use. What they use beyond is an error, and fails.
"use strict";

function equal(one, other) {
  if (one === null || other === null || typeof one !== "object" || typeof other !== "object") return Object.is(one, other);
  const names = Object.keys(one);
  return Array.isArray(one) === Array.isArray(other) && names.length === Object.keys(other).length
    && names.every((name) => name in other && equal(one[name], other[name]));
}

function expectation(value, negated) {
  const check = (holds, what) => {
    if (Boolean(holds) === negated) throw new Error(`expected ${JSON.stringify(value)}${negated ? " not" : ""} ${what}`);
  };
  const numbers = (...those) => {
    if (!those.every(Number.isFinite)) throw new Error(`${those} are not all numbers`);
    return true;
  };
  return {
    eql: (other) => check(equal(value, other), `to be ${JSON.stringify(other)}`),
    include: (part) => check(value.includes(part), `to include ${JSON.stringify(part)}`),
    be: {
      above: (least) => check(numbers(value, least) && value > least, `to be above ${least}`),
      within: (least, most) => check(numbers(value, least, most) && value >= least && value <= most, `to be within ${least} and ${most}`),
    },
    have: { property: (name) => check(name in value, `to have ${name}`) },
  };
}

// state: {variables, answer: {status, headers, body} or null, name}; what came of it is found in the same object.
function run(text, source, guids) {
  const state = Object.assign(JSON.parse(text), { tests: [], next: null, waits: 0 });
  const headers = (name) => Object.entries(state.answer.headers).filter(([one]) => one.toLowerCase() === name.toLowerCase());
  const response = state.answer && {
    code: state.answer.status,
    text: () => state.answer.body,
    json: () => JSON.parse(state.answer.body),
    headers: { get: (name) => (headers(name).length ? headers(name)[0][1] : undefined), has: (name) => headers(name).length > 0 },
    to: {
      have: {
        status: (code) => {
          if (state.answer.status !== code) throw new Error(`answered ${state.answer.status}, not ${code}: ${state.answer.body}`);
        },
      },
    },
  };
  const variables = {
    get: (name) => state.variables[name],
    set: (name, value) => {
      if (typeof value !== "string") throw new Error(`${name} is set to what is no text: ${value}`);
      state.variables[name] = value;
    },
  };
  const pm = {
    response,
    collectionVariables: variables,
    variables: { replaceIn: (template) => template.replace("{{$guid}}", () => guids.shift()) },
    info: { requestName: state.name },
    execution: { setNextRequest: (name) => { state.next = name; } },
    expect: (value) => Object.assign({}, { to: Object.assign(expectation(value, false), { not: expectation(value, true) }) }),
    test: (name, check) => {
      try {
        check();
        state.tests.push({ name, failed: null });
      } catch (error) {
        state.tests.push({ name, failed: String(error) });
      }
    },
  };
  const setTimeout = (_act, ms) => { state.waits += ms; };
  try {
    new Function("pm", "setTimeout", source)(pm, setTimeout);
  } catch (error) {
    state.tests.push({ name: "the script runs", failed: String(error) });
  }
  return JSON.stringify(state);
}
