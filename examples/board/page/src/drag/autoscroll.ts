// While a card is carried near an edge, what lies beyond scrolls into view.

import { listsOf, type Point } from "./geometry.ts";

const EDGE = 56;
const SPEED = 14;

/** Scrolls one step; true when something moved. */
export function autoscroll(board: HTMLElement, point: Point): boolean {
  const edges = board.getBoundingClientRect();
  const moved = scroll(board, "scrollLeft", push(point.x, edges.left, edges.right));
  const list = listsOf(board).find((each) => {
    const { left, right } = each.getBoundingClientRect();
    return left <= point.x && point.x <= right;
  });
  if (!list) return moved;
  const { top, bottom } = list.getBoundingClientRect();
  return scroll(list, "scrollTop", push(point.y, top, bottom)) || moved;
}

/** −SPEED…SPEED: the nearer to the edge, the faster. */
function push(at: number, start: number, end: number): number {
  if (at < start + EDGE) return -SPEED * Math.min(1, (start + EDGE - at) / EDGE);
  if (at > end - EDGE) return SPEED * Math.min(1, (at - end + EDGE) / EDGE);
  return 0;
}

function scroll(element: HTMLElement, axis: "scrollLeft" | "scrollTop", by: number): boolean {
  if (by === 0) return false;
  const before = element[axis];
  element[axis] = before + by;
  return element[axis] !== before;
}
