// A WebSocket server by hand (RFC 6455): echoes text and binary, answers ping and close.
'use strict'

const crypto = require('crypto')

const CLOSE = 0x8
const PING = 0x9
const PONG = 0xA

const open = new Set()

exports.serve = function (request, socket, head, version) {
  const accept = crypto.createHash('sha1')
    .update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64')
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    `Sec-WebSocket-Accept: ${accept}\r\nX-App-Version: ${version}\r\n\r\n`)
  open.add(socket)
  let pending = head
  socket.on('data', data => {
    pending = Buffer.concat([pending, data])
    for (let frame; (frame = read(pending));) {
      pending = pending.subarray(frame.bytes)
      answer(socket, frame)
    }
  })
  socket.on('error', () => socket.destroy())
  socket.on('close', () => open.delete(socket))
}

exports.closeAll = function (code) {
  for (const socket of open) write(socket, CLOSE, Buffer.from([code >> 8, code & 0xFF]))
}

function answer (socket, { opcode, payload }) {
  if (opcode === CLOSE) {
    write(socket, CLOSE, payload)
    socket.end()
  } else if (opcode !== PONG) {
    write(socket, opcode === PING ? PONG : opcode, payload)
  }
}

// The first frame of the bytes, if it is complete. A client's frames are masked.
function read (data) {
  if (data.length < 2) return undefined
  let size = data[1] & 0x7F
  let at = 2
  if (size === 126) {
    if (data.length < 4) return undefined
    size = data.readUInt16BE(2)
    at = 4
  } else if (size === 127) {
    throw new Error('a frame longer than any that the load sends')
  }
  if (data.length < at + 4 + size) return undefined
  const mask = data.subarray(at, at + 4)
  const payload = Buffer.from(data.subarray(at + 4, at + 4 + size))
  for (let i = 0; i < size; i++) payload[i] ^= mask[i % 4]
  return { opcode: data[0] & 0x0F, payload, bytes: at + 4 + size }
}

// Every frame is whole: the load generator sends no fragments.
function write (socket, opcode, payload) {
  const first = 0x80 | opcode
  const head = payload.length < 126
    ? [first, payload.length]
    : [first, 126, payload.length >> 8, payload.length & 0xFF]
  socket.write(Buffer.concat([Buffer.from(head), payload]))
}
