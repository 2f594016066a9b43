/** First in, first out, in constant time: an array would move all that is behind the first. */
export class Fifo<Item> {
  #items: Item[] = [];
  #head = 0;

  push(item: Item): void {
    this.#items.push(item);
  }

  /** Returns the first; `undefined` when there is none. */
  peek(): Item | undefined {
    return this.#items[this.#head];
  }

  /** Takes the first out. */
  shift(): Item | undefined {
    const item = this.#items[this.#head];
    if (this.#head < this.#items.length) this.#head += 1;
    // So seldom that each item is moved once.
    if (this.#head > 32 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** All that are in, the first first. */
  *[Symbol.iterator](): Generator<Item> {
    for (let place = this.#head; place < this.#items.length; place += 1) {
      const item = this.#items[place];
      if (item !== undefined) yield item;
    }
  }
}
