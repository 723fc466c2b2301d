package main

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
)

func TestAFrameIsReadAsItWasWritten(t *testing.T) {
	mask := [4]byte{1, 2, 3, 4}
	for _, size := range []int{0, 1, 125, 126, payloadBytesMax} {
		for _, m := range []*[4]byte{nil, &mask} {
			payload := bytes.Repeat([]byte("ab"), size)[:size]
			reader := bufio.NewReader(bytes.NewReader(appendFrame(nil, opBinary, payload, m)))
			into := make([]byte, payloadBytesMax)
			opcode, n, err := readFrame(reader, into)
			if err != nil || opcode != opBinary || !bytes.Equal(into[:n], payload) {
				t.Errorf("%d bytes, mask %v: found opcode %d, %d bytes, %v", size, m, opcode, n, err)
			}
		}
	}
}

func TestAFragmentIsRefused(t *testing.T) {
	_, _, err := readFrame(bufio.NewReader(strings.NewReader("\x01\x01x")), make([]byte, 1))
	if err == nil {
		t.Error("found no error, expected one")
	}
}

func TestRanksOfAFewValues(t *testing.T) {
	if found := rank([]uint32{10, 20, 30}, 0.5); found != 20 {
		t.Errorf("found %d, expected 20", found)
	}
	if found := rank(nil, 0.5); found != 0 {
		t.Errorf("found %d, expected 0", found)
	}
}

// The key and its answer are those of RFC 6455, section 1.3.
func TestAcceptOfTheRFC(t *testing.T) {
	if found := acceptOf(key); found != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("found %s", found)
	}
}
