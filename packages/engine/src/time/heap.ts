/** A binary heap: the least item, by `isBefore`, comes out first. */
export interface Heap<Item> {
  push(item: Item): void;
  pop(): Item | undefined;
  peek(): Item | undefined;
  /** Keeps only the items that `isKept` names. */
  retain(isKept: (item: Item) => boolean): void;
  readonly size: number;
}

/** Creates a {@link Heap}. */
export function createHeap<Item extends object>(
  isBefore: (a: Item, b: Item) => boolean,
): Heap<Item> {
  let items: Item[] = [];

  function siftUp(item: Item): void {
    let index = items.length - 1;
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = items[parentIndex];
      if (parent === undefined || !isBefore(item, parent)) break;
      items[index] = parent;
      index = parentIndex;
    }
    items[index] = item;
  }

  function siftDown(item: Item): void {
    let index = 0;
    for (;;) {
      let childIndex = index * 2 + 1;
      let child = items[childIndex];
      const right = items[childIndex + 1];
      if (child !== undefined && right !== undefined && isBefore(right, child)) {
        childIndex += 1;
        child = right;
      }
      if (child === undefined || !isBefore(child, item)) break;
      items[index] = child;
      index = childIndex;
    }
    items[index] = item;
  }

  return {
    push(item) {
      items.push(item);
      siftUp(item);
    },
    pop() {
      const head = items[0];
      const last = items.pop();
      if (last !== undefined && items.length > 0) siftDown(last);
      return head;
    },
    peek: () => items[0],
    retain(isKept) {
      items = items
        .filter(isKept)
        .toSorted((a, b) => (isBefore(a, b) ? -1 : isBefore(b, a) ? 1 : 0));
    },
    get size() {
      return items.length;
    },
  };
}
