/** JSON whose whole numbers stay exact. */

import { parseExact } from "../../../clients/js/src/common/json.js";
import { equal } from "../assert.js";

export async function onlyWholeNumbersBeyondDoublePrecisionBecomeBigInts() {
  const text =
    '{"a": [9007199254740993, -9007199254740993, 9007199254740991, 12345678901234567890], "b": 0.1000000000000000055}';
  const [large, exact] = [9007199254740993n, 9007199254740991];
  equal(parseExact(text), { a: [large, -large, exact, 12345678901234567890n], b: 0.1 });
  equal(
    parseExact('{"id \\" 9007199254740993": "9007199254740993", "x": 9007199254740993.5, "y": 9007199254740993e1}'),
    {
      'id " 9007199254740993': "9007199254740993",
      x: 9007199254740993.5,
      y: 90071992547409930,
    },
  );
}
