const HEIGHTS = [[64, 84, 64], [84, 64], [64], [64, 84]];

/** The shape of a board, until the server has sent one. */
export function Skeleton() {
  return (
    <div className="board board--skeleton" role="status" aria-label="Loading the board" data-testid="loading">
      {HEIGHTS.map((heights, column) => (
        <div key={column} className="column">
          <div className="skeleton skeleton--title" />
          {heights.map((height, card) => (
            <div key={card} className="skeleton" style={{ height }} />
          ))}
        </div>
      ))}
    </div>
  );
}
