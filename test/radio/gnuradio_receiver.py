"""Run by the interpreter that has GNU Radio: ADDRESS KIND ROWS ITEMS FILE."""

import sys

from gnuradio import blocks, gr, zeromq

address, kind, rows, items, file = sys.argv[1:]
rows, items = int(rows), int(items)
source = {'pub': zeromq.sub_source, 'push': zeromq.pull_source, 'rep': zeromq.req_source}[kind](
    gr.sizeof_gr_complex, rows, address, 100, False)
graph = gr.top_block()
graph.connect(source, blocks.head(gr.sizeof_gr_complex * rows, items),
              blocks.file_sink(gr.sizeof_gr_complex * rows, file))
print('ready', flush=True)
graph.run()
