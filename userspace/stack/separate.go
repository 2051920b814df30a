package stack

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path"
	"strings"

	"github.com/ulikunitz/xz"
)

const (
	// maxMiniDebug bounds symbols in .gnu_debugdata, unpacked. Those of the
	// largest programs of Fedora take some 4 MB.
	maxMiniDebug = 16 << 20
	// maxDictionary is what unpacking may allocate beside; xz -6 takes 8 MB.
	maxDictionary = 16 << 20
	// maxSum is how large a debug file may be that is known by its checksum
	// alone; all of it has to be read.
	maxSum = 64 << 20
	// maxBuildID is twice a SHA-256, in bytes.
	maxBuildID = 64
)

var (
	errNoDebug = errors.New("no separate debug file")
	errPacked  = errors.New("packed in another way than debug data is")
)

// buildID returns the build id of a file in hex, "" if it has none.
func buildID(f *image) string {
	s, ok := f.section(".note.gnu.build-id")
	if !ok || s.size < 16 || s.size > 16+maxBuildID {
		return ""
	}
	b, err := f.bytes(s.offset, s.size)
	if err != nil {
		return ""
	}
	le := binary.LittleEndian
	// NT_GNU_BUILD_ID is 3, and its owner "GNU".
	n := uint64(le.Uint32(b[4:]))
	if le.Uint32(b) != 4 || le.Uint32(b[8:]) != 3 || string(b[12:16]) != "GNU\x00" || n < 2 || n > s.size-16 {
		return ""
	}
	return hex.EncodeToString(b[16 : 16+n])
}

// separate opens the file that a package's debug symbols are in: by build id,
// then by .gnu_debuglink, in the process's root and then in others.
func (o *object) separate(ctx context.Context, f *image) (*os.File, *image, error) {
	id := buildID(f)
	link, sum := debugLink(f)
	for _, root := range append([]string{o.root}, o.roots...) {
		if id != "" {
			at := "/usr/lib/debug/.build-id/" + id[:2] + "/" + id[2:] + ".debug"
			if file, d, err := openDebug(root, at); err == nil {
				if buildID(d) == id {
					return file, d, nil
				}
				file.Close()
			}
		}
		if link == "" {
			continue
		}
		dir := path.Dir(strings.TrimSuffix(o.path, " (deleted)"))
		for _, at := range []string{dir + "/" + link, dir + "/.debug/" + link, "/usr/lib/debug" + dir + "/" + link} {
			file, d, err := openDebug(root, at)
			if err != nil {
				continue
			}
			if belongs(ctx, d, id, sum) {
				return file, d, nil
			}
			file.Close()
		}
	}
	return nil, nil, errNoDebug
}

func openDebug(root, at string) (*os.File, *image, error) {
	f, id, err := openIn(root, at)
	if err != nil {
		return nil, nil, err
	}
	d, err := readImage(f, id.size)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, d, nil
}

// belongs compares a debug file with what its program says of it.
func belongs(ctx context.Context, d *image, id string, sum uint32) bool {
	if other := buildID(d); id != "" && other != "" {
		return id == other
	}
	if d.size > maxSum {
		return false
	}
	crc := uint32(0)
	err := scan(ctx, d, 0, d.size, func(_ uint64, b []byte) bool {
		crc = crc32.Update(crc, crc32.IEEETable, b)
		return true
	})
	return err == nil && crc == sum
}

// debugLink reads .gnu_debuglink: a file's name, and its CRC-32.
func debugLink(f *image) (name string, sum uint32) {
	s, ok := f.section(".gnu_debuglink")
	if !ok || s.size < 8 || s.size > 512 {
		return "", 0
	}
	b, err := f.bytes(s.offset, s.size)
	if err != nil {
		return "", 0
	}
	n := bytes.IndexByte(b, 0)
	if n <= 0 || n > len(b)-5 || bytes.IndexByte(b[:n], '/') >= 0 {
		return "", 0
	}
	return string(b[:n]), binary.LittleEndian.Uint32(b[len(b)-4:])
}

// miniDebug unpacks .gnu_debugdata, an ELF file with the symbols that strip
// took away, as Fedora packs it into every program.
func miniDebug(f *image) (*image, error) {
	s, ok := f.section(".gnu_debugdata")
	if !ok {
		return nil, errNoDebug
	}
	if s.size > maxMiniDebug {
		return nil, errTooLarge
	}
	packed, err := f.bytes(s.offset, s.size)
	if err != nil {
		return nil, err
	}
	if err := checkPacked(packed); err != nil {
		return nil, err
	}
	r, err := xz.ReaderConfig{SingleStream: true}.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpacking .gnu_debugdata: %w", err)
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxMiniDebug+1))
	if err != nil {
		return nil, fmt.Errorf("unpacking .gnu_debugdata: %w", err)
	}
	if len(plain) > maxMiniDebug {
		return nil, errTooLarge
	}
	return readImage(bytes.NewReader(plain), int64(len(plain)))
}

// checkPacked looks at the headers of an .xz file before the library does: the
// dictionary that it allocates is as large as a header says, up to 4 GB. One
// block with one filter is what xz makes of a file of this size; each further block
// could name another dictionary.
func checkPacked(b []byte) error {
	const header, footer = 12, 12
	if len(b) < header+footer+8 || !bytes.HasPrefix(b, []byte("\xfd7zXZ\x00")) || !bytes.HasSuffix(b, []byte("YZ")) {
		return errPacked
	}
	index := (uint64(binary.LittleEndian.Uint32(b[len(b)-8:])) + 1) * 4
	if index > uint64(len(b)-header-footer) {
		return errPacked
	}
	// The index begins with a zero and the number of blocks.
	if at := uint64(len(b)-footer) - index; b[at] != 0 || b[at+1] != 1 {
		return errPacked
	}
	block := b[header:]
	size, flags := (int(block[0])+1)*4, block[1]
	if block[0] == 0 || size > len(block) || flags&0x3f != 0 {
		return errPacked
	}
	block = block[2:size]
	for _, optional := range []byte{0x40, 0x80} {
		if flags&optional == 0 {
			continue
		}
		_, n := binary.Uvarint(block)
		if n <= 0 {
			return errPacked
		}
		block = block[n:]
	}
	// LZMA2, whose one property is the dictionary's size.
	if len(block) < 3 || block[0] != 0x21 || block[1] != 1 || block[2] > 40 {
		return errPacked
	}
	if bits := block[2]; uint64(2|bits&1)<<(bits/2+11) > maxDictionary {
		return errTooLarge
	}
	return nil
}
