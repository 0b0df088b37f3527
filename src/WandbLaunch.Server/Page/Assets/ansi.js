// A line of a log as parts of one look each. What a terminal would do besides (move, ask, link, beep) is left out.
const names = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white'];
const looks = { 1: 'bold', 2: 'faint', 3: 'italic', 4: 'underline' };
// Sequences with parameters; those with a text until BEL or ST (titles, links); any other; and what is no character.
const sequence = /\x1b\[([?<=>]?)([\d;:]*)[ -/]*([@-~])|\x1b[\]P^_X][^]*?(?:\x07|\x1b\\|$)|\x1b[ -/]*[0-~]?|[\x00-\x08\x0b-\x1f\x7f\x9b]/g;

// The 256 colours: sixteen with names, a cube of six by six by six, and greys.
const indexed = n => n < 16 ? (n < 8 ? '' : 'bright-') + names[n % 8]
  : n < 232 ? [36, 6, 1].map(d => { const v = Math.floor((n - 16) / d) % 6; return v && v * 40 + 55; })
  : Array(3).fill(8 + (n - 232) * 10);

/** Goes through a log; a look stays until it is taken back, over ends of lines too. */
export class Colours {
  look = new Set();

  ground = {};

  read(line) {
    const parts = [];
    let at = 0;
    for (const found of line.matchAll(sequence)) {
      this.add(parts, line.slice(at, found.index));
      if (found[3] === 'm' && !found[1]) this.change(found[2].split(/[;:]/).map(Number));
      at = found.index + found[0].length;
    }
    this.add(parts, line.slice(at));
    return parts;
  }

  add(parts, text) {
    if (!text) return;
    const { fg, bg } = this.ground;
    const classes = [...this.look];
    const style = {};
    if (typeof fg === 'string') classes.push(`ansi-${fg}-fg`); else if (fg) style.color = `rgb(${fg})`;
    if (typeof bg === 'string') classes.push(`ansi-${bg}-bg`); else if (bg) style.backgroundColor = `rgb(${bg})`;
    parts.push({ text, classes: classes.join(' '), style });
  }

  change(codes) {
    for (let i = 0; i < codes.length; i++) {
      const code = codes[i];
      const kind = code % 100 >= 40 && code % 100 < 50 || code >= 100 ? 'bg' : 'fg';
      if (code === 0) { this.look.clear(); this.ground = {}; }
      else if (looks[code]) this.look.add(looks[code]);
      else if (code === 22) { this.look.delete('bold'); this.look.delete('faint'); }
      else if (code === 23) this.look.delete('italic');
      else if (code === 24) this.look.delete('underline');
      else if (code === 38 || code === 48) {
        const [way, ...values] = codes.slice(i + 1, i + 5);
        const byte = v => Math.min(255, Math.max(0, v || 0));
        if (way === 5) { this.ground[kind] = indexed(byte(values[0])); i += 2; }
        else if (way === 2) { this.ground[kind] = [0, 1, 2].map(n => byte(values[n])); i += 4; }
      } else if (code === 39 || code === 49) delete this.ground[kind];
      else if (code >= 30 && code < 48) this.ground[kind] = names[code % 10];
      else if (code >= 90 && code < 108) this.ground[kind] = 'bright-' + names[code % 10];
    }
  }
}
