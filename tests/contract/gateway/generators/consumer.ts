// A program of a user: it compiles only where the generated types fit, and runs against a gateway.
import createClient from "openapi-fetch";
import type { paths } from "./api.js";

declare const process: { argv: string[] };

const client = createClient<paths, "application/json" | "application/problem+json">({ baseUrl: process.argv[2] });

const prices = await client.GET("/prices", { params: { query: { ids: "bitcoin,nothing", vs_currencies: "usd" } } });
if (!prices.data) throw new Error(`prices: ${prices.error?.detail}`);
const price: number = prices.data.prices[0].price;

const forecasts = await client.GET("/forecasts", { params: { query: { ids: "bitcoin", days: 7, model: "lightgbm" } } });
if (!forecasts.data) throw new Error(`forecasts: ${forecasts.error?.detail}`);
const horizons: number[] = forecasts.data.forecasts[0].points.map((point) => point.horizon_days);

const refused = await client.GET("/forecasts", { params: { query: { ids: "bitcoin", days: 99 } } });

const risk = await client.POST("/risk/portfolio", {
  body: { holdings: [{ id: "bitcoin", amount: 0.1 }], days: 3 },
});
if (!risk.data) throw new Error(`risk: ${risk.error?.detail}`);

console.log(
  JSON.stringify({
    price,
    unknown: prices.data.errors.map((error) => error.id),
    horizons,
    field: refused.error?.field,
    value: risk.data.value,
  }),
);
