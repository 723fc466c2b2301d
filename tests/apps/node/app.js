// The app of ../go, as far as the load generator needs it, on Node's own `http`.
//
//   node app.js PORT VERSION REPORT_FILE
//
// When SIGTERM comes it first writes down what it holds, then does what Node's manual says: `server.close()`, and exits
// when the last connection is gone. WebSockets are sent a close frame 1001.
'use strict'

const crypto = require('crypto')
const fs = require('fs')
const http = require('http')
const websocket = require('./websocket')

const [port, version, reportFile] = [Number(process.argv[2]), process.argv[3], process.argv[4]]

const connections = new Map() // socket -> 'idle', 'request' or 'tunnel'
const served = {}

const answers = {
  'GET /up': (request, response) => send(response, 'text/plain', 'ok'),
  'GET /fast': (request, response, query) => send(response, 'text/plain', patternOf(query)),
  'GET /slow': (request, response, query) =>
    setTimeout(() => send(response, 'text/plain', patternOf(query)), query.number('ms', 2000)),
  'GET /stream': stream,
  'POST /upload': upload,
  'POST /echo': async (request, response) => {
    const parts = []
    for await (const part of request) parts.push(part)
    send(response, 'application/octet-stream', Buffer.concat(parts))
  },
}

function answer (request, response) {
  const socket = request.socket
  connections.set(socket, 'request')
  // 'close' comes when the answer was handed to the kernel, or the connection broke.
  response.on('close', () => connections.has(socket) && connections.set(socket, 'idle'))
  response.setHeader('X-App-Version', version)
  const url = new URL(request.url, 'http://app')
  const found = answers[`${request.method} ${url.pathname}`]
  if (!found) {
    response.statusCode = 404
    return send(response, 'text/plain', 'not found\n')
  }
  url.searchParams.number = (name, usual) => Number(url.searchParams.get(name) || usual)
  served[url.pathname] = (served[url.pathname] || 0) + 1
  Promise.resolve(found(request, response, url.searchParams)).catch(() => socket.destroy())
}

function send (response, type, body) {
  response.setHeader('Content-Type', type)
  response.setHeader('Content-Length', Buffer.byteLength(body))
  response.end(body)
}

async function stream (request, response, query) {
  const [events, gap, seed] = [query.number('events', 10), query.number('gap_ms', 100), query.number('seed', 0)]
  response.setHeader('Content-Type', 'text/event-stream')
  for (let i = 1; i <= events; i++) {
    response.write(`id: ${i}\ndata: ${pattern(seed + i, 24)}\n\n`)
    await new Promise(resolve => setTimeout(resolve, gap))
  }
  response.end('data: end\n\n')
}

async function upload (request, response) {
  const sum = crypto.createHash('sha256')
  let bytes = 0
  for await (const part of request) {
    sum.update(part)
    bytes += part.length
  }
  send(response, 'application/json', JSON.stringify({ bytes, sha256: sum.digest('hex') }))
}

const patternOf = query => pattern(query.number('seed', 0), query.number('n', 128))

// The same function as in the other apps and the load generator: n bytes that depend on the seed and the place of each.
function pattern (seed, n) {
  const body = Buffer.alloc(n)
  let x = Math.imul(seed, 2654435761) + 1
  for (let i = 0; i < n; i++) {
    x = Math.imul(x, 1664525) + 1013904223
    body[i] = 97 + (x >>> 24) % 26
  }
  return body
}

// What is held now. A connection whose peer has closed it, although Node may not have noticed yet, is not held.
function holdings () {
  const held = { connections: 0, requests: 0, tunnels: 0 }
  if (connections.size === 0) return held
  const left = peersThatLeft()
  for (const [socket, state] of connections) {
    if (left.has(socket.remotePort)) continue
    held.connections++
    if (state === 'request') held.requests++
    if (state === 'tunnel') held.tunnels++
  }
  return held
}

// The remote ports of this server's connections that the kernel no longer has as established (01).
function peersThatLeft () {
  const left = new Set()
  for (const line of fs.readFileSync('/proc/self/net/tcp', 'utf8').split('\n').slice(1)) {
    const [, local, remote, state] = line.trim().split(/\s+/)
    if (!remote || state === '01' || parseInt(local.split(':')[1], 16) !== port) continue
    left.add(parseInt(remote.split(':')[1], 16))
  }
  return left
}

const server = http.createServer(answer)
server.on('connection', socket => {
  connections.set(socket, 'idle')
  socket.on('close', () => connections.delete(socket))
})
server.on('upgrade', (request, socket, head) => {
  connections.set(socket, 'tunnel')
  served['/ws'] = (served['/ws'] || 0) + 1
  websocket.serve(request, socket, head, version)
})

process.once('SIGTERM', () => {
  fs.writeFileSync(`${reportFile}.new`, JSON.stringify({ version, pid: process.pid, held: holdings(), served }))
  fs.renameSync(`${reportFile}.new`, reportFile)
  server.close(() => process.exit(0))
  websocket.closeAll(1001)
})

server.listen(port, '127.0.0.1', () => console.log('ready'))
