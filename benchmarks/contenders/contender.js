// The measured side of a benchmark in node: the same conversation as contender.py.

'use strict'

const fs = require('node:fs')
const path = require('node:path')
const readline = require('node:readline')

function split(buffer, separator) {
  const parts = []
  let start = 0
  for (;;) {
    const end = buffer.indexOf(separator, start)
    if (end < 0) break
    if (end > start) parts.push(Buffer.from(buffer.subarray(start, end)))
    start = end + separator.length
  }
  if (start < buffer.length) parts.push(Buffer.from(buffer.subarray(start)))
  return parts
}

// One file of frames with its facts: the frames that come first, and those that are measured.
function readFrames(factsPath) {
  const facts = JSON.parse(fs.readFileSync(factsPath, 'utf8'))
  const content = fs.readFileSync(path.join(path.dirname(factsPath), `${facts.name}.ndjson`))
  const middle = content.indexOf('\n\n')
  return {
    symbols: facts.symbols,
    first: split(content.subarray(0, middle), '\n'),
    steady: split(content.subarray(middle + 2), '\n')
  }
}

function measure(run, times) {
  let units = 0
  let wall = 0n
  let cpu = 0
  for (let index = 0; index < times; index++) {
    const prepared = run()
    if (global.gc) global.gc()
    const before = process.cpuUsage()
    const started = process.hrtime.bigint()
    units += prepared()
    wall += process.hrtime.bigint() - started
    const spent = process.cpuUsage(before)
    cpu += spent.user + spent.system
  }
  return { units, wall_ns: Number(wall), cpu_ns: cpu * 1000 }
}

function answer(message) {
  fs.writeSync(1, JSON.stringify(message) + '\n')
}

// Answers requests until standard input ends.
function serve(passes, version) {
  answer({ version, passes: Object.keys(passes) })
  readline.createInterface({ input: process.stdin }).on('line', (line) => {
    const [name, times] = line.trim().split(' ')
    answer(measure(passes[name], Number(times || 1)))
  })
}

module.exports = { answer, measure, readFrames, serve }
