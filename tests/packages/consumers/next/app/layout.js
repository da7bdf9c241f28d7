export default function Layout({ children }) {
  return (
    <html lang="en">
      <head>
        <link rel="icon" href="data:," />
        <title>tidewire in Next</title>
      </head>
      <body>{children}</body>
    </html>
  );
}
