// Sorting and filtering of tables; the page is complete without it.
for (const table of document.querySelectorAll('table.sortable')) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const key = (row, i) => row.cells[i].dataset.n === undefined ? row.cells[i].textContent : +row.cells[i].dataset.n;
  heads.forEach((head, i) => head.firstChild.addEventListener('click', () => {
    const up = head.getAttribute('aria-sort') === 'descending';
    heads.forEach(h => h.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const rows = [...body.rows].sort((a, b) => { const x = key(a, i), y = key(b, i); return (x > y) - (x < y); });
    if (!up) rows.reverse();
    body.append(...rows);
  }));
  const filter = table.closest('section').querySelector('.filter');
  filter?.addEventListener('input', () => {
    for (const row of body.rows) row.hidden = !row.cells[0].textContent.includes(filter.value);
  });
}
