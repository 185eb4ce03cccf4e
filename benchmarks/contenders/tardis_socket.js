// tardis-dev on a socket: npm ws, then its mappers and books.

'use strict'

const readline = require('node:readline')
const WebSocket = require('ws')
const { answer, readFrames } = require('./contender.js')
const { Callback, consumers, receiver, name } = require('./tardis_pipeline.js')

const [port, frameText, factsPath] = process.argv.slice(2)
const frames = Number(frameText)
const material = readFrames(factsPath)

function measure(kind) {
  const callback = new Callback()
  const receive = receiver(consumers[kind === 'json' ? 'delta' : 'book'](callback))
  const first = material.first.length
  let seen = 0
  let started
  let before
  const socket = new WebSocket(`ws://127.0.0.1:${port}/`, { perMessageDeflate: false, skipUTF8Validation: true })
  socket.on('open', () => socket.send('{"method":"subscribeOrderbook"}'))
  socket.on('message', (frame) => {
    if (seen === first + 1) {
      before = process.cpuUsage()
      started = process.hrtime.bigint()
    }
    receive(frame)
    if (++seen === first + frames) {
      const wall = process.hrtime.bigint() - started
      const spent = process.cpuUsage(before)
      socket.terminate()
      answer({ units: frames - 1, wall_ns: Number(wall), cpu_ns: (spent.user + spent.system) * 1000 })
    }
  })
}

answer({ version: `${name}, ws ${require('ws/package.json').version}` })
readline.createInterface({ input: process.stdin }).on('line', (line) => measure(line.trim().split(' ')[1]))
