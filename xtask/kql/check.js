// Judges queries with Microsoft's parser of KQL. In: a JSON array of {name, query}; out, in the same order:
// {name, diagnostics: [text]}, each text with its line before it.
"use strict";
require("@kusto/language-service-next/bridge.min.js");
require("@kusto/language-service-next/Kusto.Language.Bridge.min.js");

const { KustoCode, GlobalState, Symbols } = Kusto.Language;

// The table of Application Insights, as a rule whose scope is the component sees it.
const CUSTOM_METRICS =
  "(timestamp: datetime, name: string, value: real, valueSum: real, valueCount: int, valueMin: real, " +
  "valueMax: real, valueStdDev: real, customDimensions: dynamic, operation_Name: string, " +
  "operation_Id: string, operation_ParentId: string, operation_SyntheticSource: string, " +
  "session_Id: string, user_Id: string, user_AuthenticatedId: string, user_AccountId: string, " +
  "application_Version: string, client_Type: string, client_Model: string, client_OS: string, " +
  "client_IP: string, client_City: string, client_StateOrProvince: string, " +
  "client_CountryOrRegion: string, client_Browser: string, cloud_RoleName: string, " +
  "cloud_RoleInstance: string, appId: string, appName: string, iKey: string, sdkVersion: string, " +
  "itemId: string, itemType: string, _ResourceId: string)";

const table = Symbols.TableSymbol.From(CUSTOM_METRICS).WithName("customMetrics");
const database = new Symbols.DatabaseSymbol.$ctor1("component", [table]);
const globals = GlobalState.Default.WithDatabase(database);

const items = (list) => Array.from({ length: list.Count }, (_, i) => list.getItem(i));

function judge({ name, query }) {
  const code = KustoCode.ParseAndAnalyze(query, globals);
  const diagnostics = items(code.GetDiagnostics()).map((one) => {
    const line = query.slice(0, one.Start).split("\n").length;
    return `${line}: ${one.Code}: ${one.Message}`;
  });
  return { name, diagnostics };
}

const queries = JSON.parse(require("fs").readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(queries.map(judge)));
