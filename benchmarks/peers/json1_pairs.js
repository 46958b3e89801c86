// What a transform of ot-json1 costs, by kind of pair: JSON, microseconds per pair. The pairs are
// those of pairs.py.
//   node json1_pairs.js MODULES SECONDS

const { createRequire } = require('module')
const path = require('path')

const [modules, seconds] = process.argv.slice(2)
const { type } = createRequire(path.join(modules, 'index.js'))('ot-json1')

const cell = {
  cell_type: 'code', source: '', metadata: {}, outputs: [], execution_count: null,
  attachments: {}, execution: {}
}
const edit = (id, ...delta) => ['cells', id, 'source', { es: delta }]
const insert = (id, index) => [['cells', id, { i: cell }], ['order', index, { i: id }]]
const move = (index, to) => index < to
  ? ['order', [index, { p: 0 }], [to, { d: 0 }]]
  : ['order', [to, { d: 0 }], [index, { p: 0 }]]
const tag = (id, ...tags) => ['cells', id, 'metadata', 'tags', { r: true, i: tags }]

const PAIRS = { // later, earlier
  'edit, edit in one cell': [edit('a', 40, 'x'), edit('a', 12, 'y', { d: 2 })],
  'edit, edit in two cells': [edit('a', 40, 'x'), edit('b', 12, 'y', { d: 2 })],
  'insert a cell, insert a cell': [insert('m', 7), insert('n', 3)],
  'move a cell, move another': [move(2, 7), move(5, 1)],
  'write metadata, write the same': [tag('a', 'x'), tag('a', 'y', 'z')]
}
const BATCH = 200
const REPEATS = 3
const kinds = Object.entries(PAIRS)

function cost (later, earlier) {
  let best = Infinity
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    const begin = performance.now()
    let count = 0
    let now = 0
    while (now < 1000 * seconds / kinds.length / REPEATS) {
      for (let i = 0; i < BATCH; i++) type.transformNoConflict(later, earlier, 'right')
      count += BATCH
      now = performance.now() - begin
    }
    best = Math.min(best, 1000 * now / count)
  }
  return best
}

for (const [, pair] of kinds) pair.forEach(type.checkValidOp) // as they are meant to be
console.log(JSON.stringify(Object.fromEntries(
  kinds.map(([kind, pair]) => [kind, cost(...pair)])
)))
