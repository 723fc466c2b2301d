package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
)

// Frames as far as the workload needs them (RFC 6455, section 5): unfragmented, at most 65,535 bytes.

const (
	opText, opBinary        = 0x1, 0x2
	opClose, opPing, opPong = 0x8, 0x9, 0xA

	finalBit, maskBit = 0x80, 0x80
	payloadBytesMax   = 1<<16 - 1
	headBytesMax      = 8 // two of the head, two of the length, four of the mask
)

func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// readFrame reads one frame into `into`, unmasked, and returns its opcode and length.
func readFrame(r *bufio.Reader, into []byte) (opcode byte, size int, err error) {
	var head [headBytesMax]byte
	if _, err = io.ReadFull(r, head[:2]); err != nil {
		return 0, 0, err
	}
	size = int(head[1] &^ maskBit)
	if head[0]&0xF0 != finalBit || size == 127 {
		return 0, 0, fmt.Errorf("found a frame that begins with %x, expected a whole one of at most %d bytes",
			head[:2], payloadBytesMax)
	}
	if size == 126 {
		if _, err = io.ReadFull(r, head[2:4]); err != nil {
			return 0, 0, err
		}
		size = int(binary.BigEndian.Uint16(head[2:4]))
	}
	isMasked := head[1]&maskBit != 0
	mask := head[4:8]
	if isMasked {
		if _, err = io.ReadFull(r, mask); err != nil {
			return 0, 0, err
		}
	}
	if _, err = io.ReadFull(r, into[:size]); err != nil {
		return 0, 0, err
	}
	if isMasked {
		for i := range into[:size] {
			into[i] ^= mask[i%4]
		}
	}
	return head[0] & 0x0F, size, nil
}

// appendFrame appends one frame; a client's has a mask, a server's none.
func appendFrame(out []byte, opcode byte, payload []byte, mask *[4]byte) []byte {
	bit := byte(0)
	if mask != nil {
		bit = maskBit
	}
	out = append(out, finalBit|opcode)
	if len(payload) < 126 {
		out = append(out, bit|byte(len(payload)))
	} else {
		out = binary.BigEndian.AppendUint16(append(out, bit|126), uint16(len(payload)))
	}
	if mask == nil {
		return append(out, payload...)
	}
	out = append(out, mask[:]...)
	for i, b := range payload {
		out = append(out, b^mask[i%4])
	}
	return out
}
