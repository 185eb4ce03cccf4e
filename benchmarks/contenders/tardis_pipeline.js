// tardis-dev: the same frames through JSON.parse, its own HitBTC mappers and its own books, called directly.

'use strict'

const tardis = require('tardis-dev')
const { version } = require('tardis-dev/package.json')
const { readFrames, serve } = require('./contender.js')

class Callback {
  constructor() {
    this.count = 0
    this.last = undefined
  }
  take(value) {
    this.count++
    this.last = value
  }
}

const { hitBtcBookChangeMapper, hitBtcTradesMapper } = require('tardis-dev/dist/mappers/hitbtc.js')
const mappers = [hitBtcTradesMapper, hitBtcBookChangeMapper]

// What is done with each normalised message, by pass.
const consumers = {
  book: (callback) => {
    const books = new Map()
    return (message) => {
      if (message.type === 'book_change') {
        let book = books.get(message.symbol)
        if (book === undefined) books.set(message.symbol, (book = new tardis.OrderBook()))
        book.update(message)
      }
      callback.take(message)
    }
  },
  delta: (callback) => {
    const books = new Map()
    return (message) => {
      if (message.type === 'book_change') {
        let book = books.get(message.symbol)
        if (book === undefined) books.set(message.symbol, (book = new tardis.OrderBook()))
        book.update(message)
      }
      callback.take(JSON.stringify(message))
    }
  },
  top: (callback) => {
    const books = new Map()
    const create = tardis.computeBookSnapshots({ depth: 10, interval: 0 })
    return (message) => {
      if (message.type !== 'book_change') return
      let book = books.get(message.symbol)
      if (book === undefined) books.set(message.symbol, (book = create()))
      for (const snapshot of book.compute(message)) callback.take(JSON.stringify(snapshot))
    }
  }
}

function receiver(consume) {
  return (frame) => {
    const message = JSON.parse(frame)
    const localTimestamp = new Date()
    for (const mapper of mappers) {
      if (mapper.canHandle(message, localTimestamp)) {
        for (const mapped of mapper.map(message, localTimestamp)) consume(mapped)
      }
    }
  }
}

function pipeline(materials, kind) {
  return () => {
    const work = materials.map((material) => {
      const callback = new Callback()
      const receive = receiver(consumers[kind](callback))
      for (const frame of material.first) receive(frame)
      return { receive, steady: material.steady, callback }
    })
    return () => {
      let units = 0
      for (const { receive, steady, callback } of work) {
        for (const frame of steady) receive(frame)
        units += steady.length
        if (callback.count === 0) throw new Error('nothing came out')
      }
      return units
    }
  }
}

module.exports = { Callback, consumers, receiver, name: `tardis-dev ${version}, node ${process.versions.node}` }

if (require.main === module) {
  const materials = process.argv.slice(2).map(readFrames)
  const passes = Object.fromEntries(Object.keys(consumers).map((kind) => [kind, pipeline(materials, kind)]))
  serve(passes, module.exports.name)
}
