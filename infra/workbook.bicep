// The dashboard. It is an object here, so that queries are escaped by the compiler and not by hand.

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Resource id of the Application Insights component.')
param componentId string

@description('Resource id of the app.')
param appId string

@description('Resource id of the database server.')
param serverId string

@description('Temp space that the handler may use, in MB.')
param tempLimitMb int

@description('Temp space that the platform gives, in MB.')
param tempQuotaMb int

type metric = {
  name: string

  @description('1: total, 3: maximum, 4: average.')
  aggregation: 1 | 3 | 4
}

// A chart of a query.
func chart(title string, kql string) object => {
  type: 3
  name: title
  content: {
    version: 'KqlItem/1.0'
    title: title
    query: kql
    size: 0
    queryType: 0
    resourceType: 'microsoft.insights/components'
    timeContextFromParameter: 'TimeRange'
    visualization: 'timechart'
  }
}

// A chart of what Azure itself measures.
func platformChart(title string, resourceType string, resourceId string, metrics metric[]) object => {
  type: 10
  name: title
  content: {
    version: 'MetricsItem/2.0'
    chartId: guid(title)
    title: title
    size: 0
    chartType: 2
    metricScope: 0
    resourceType: resourceType
    resourceIds: [resourceId]
    timeContextFromParameter: 'TimeRange'
    metrics: map(metrics, m => {
      namespace: resourceType
      metric: '${resourceType}--${m.name}'
      aggregation: m.aggregation
    })
  }
}

var temp = replace(
  replace(loadTextContent('kql/workbook/temp.kql'), '__TEMP_LIMIT_MB__', string(tempLimitMb)),
  '__TEMP_QUOTA_MB__',
  string(tempQuotaMb)
)
var app = 'microsoft.web/sites'
var server = 'microsoft.dbforpostgresql/flexibleservers'

var content = {
  version: 'Notebook/1.0'
  fallbackResourceIds: [componentId]
  items: [
    {
      type: 9
      name: 'parameters'
      content: {
        version: 'KqlParameterItem/1.0'
        style: 'pills'
        queryType: 0
        resourceType: 'microsoft.insights/components'
        parameters: [
          {
            version: 'KqlParameterItem/1.0'
            id: guid('TimeRange')
            name: 'TimeRange'
            label: 'Time'
            type: 4
            isRequired: true
            value: { durationMs: 14400000 }
            typeSettings: {
              selectableValues: [
                { durationMs: 3600000 }
                { durationMs: 14400000 }
                { durationMs: 86400000 }
                { durationMs: 604800000 }
              ]
              allowCustom: true
            }
          }
        ]
      }
    }
    chart('Chunks at work and slots', loadTextContent('kql/workbook/active.kql'))
    chart('Degraded processes', loadTextContent('kql/workbook/degraded.kql'))
    chart('Temp space by instance, MB', temp)
    chart('Failed, completed, reclaimed in 10 minutes', loadTextContent('kql/workbook/outcomes.kql'))
    chart('Waiting chunks', loadTextContent('kql/workbook/pending.kql'))
    chart('Age of the oldest waiting chunk, s', loadTextContent('kql/workbook/oldest.kql'))
    chart('Images/s', loadTextContent('kql/workbook/images.kql'))
    chart('MB/s', loadTextContent('kql/workbook/bytes.kql'))
    chart('Claim, ms', loadTextContent('kql/workbook/claim.kql'))
    chart('Chunk, s', loadTextContent('kql/workbook/chunk.kql'))
    platformChart('Database, CPU %', server, serverId, [{ name: 'cpu_percent', aggregation: 4 }])
    platformChart('Database, connections', server, serverId, [{ name: 'active_connections', aggregation: 3 }])
    platformChart('App, instances', app, appId, [{ name: 'InstanceCount', aggregation: 4 }])
    platformChart('App, CPU %', app, appId, [{ name: 'CpuPercentage', aggregation: 4 }])
    platformChart('App, memory, bytes', app, appId, [{ name: 'MemoryWorkingSet', aggregation: 4 }])
  ]
}

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(componentId, 'workbook')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'PixCrawler chunks'
    category: 'workbook'
    sourceId: componentId
    serializedData: string(content)
  }
}
