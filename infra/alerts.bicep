// Who is told what. README.md says what each alert means and what to do about it.

import { relayKind, smsReceiver } from 'types.bicep'

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Resource id of the Application Insights component that has the metrics.')
param componentId string

@description('Resource id of the database server.')
param serverId string

@description('Connections that the database has for users.')
param userConnections int

@description('Chunks at once over all instances.')
param fleetMaxChunks int

@description('Temp space of an instance as the platform gives it, in MB.')
param tempQuotaMb int

@description('Name of the remediation workflow.')
param remediationName string

@description('Name of the workflow that repeats notifications elsewhere.')
param relayName string

@description('Mail addresses that are notified.')
param notifyEmails string[]

@description('Accounts whose Azure app is notified.')
param pushEmails string[]

@description('Mail addresses of whoever hears of what was not mended.')
param managerEmails string[]

@description('Telephones that are told of the disk.')
param smsReceivers smsReceiver[]

@description('Where notifications are repeated.')
param relay relayKind

@description('Incoming webhook of Slack or Teams.')
@secure()
param relayUrl string

@description('Whether somebody is on call.')
param onCallEnabled bool

@description('Webhook of the on-call service; it gets the common alert schema.')
@secure()
param onCallUrl string

type group = 'notify' | 'storage' | 'oncall' | 'manager'

@sealed()
type logRule = {
  name: string
  description: string
  query: string
  windowSize: 'PT5M' | 'PT10M' | 'PT15M'
  aggregation: 'Maximum' | 'Total' | 'Count'
  threshold: int
  groups: group[]
  severity: 0 | 1 | 2 | 3

  @description('One rule for each instance.')
  byInstance: bool?

  @description('How many evaluations in a row, five minutes apart; 1 when absent.')
  periods: int?
}

// Nine tenths: the handler stops taking chunks long before, so that this much means a leak.
var tempThresholdMb = tempQuotaMb * 9 / 10

// A window is at least twice the period of whoever sends: points come a minute or more late, no rule
// waits for them, and what comes after an evaluation counts only if the next window has its time.
var logRules logRule[] = [
  {
    name: 'active'
    description: 'More chunks are at work than there are slots.'
    query: loadTextContent('kql/active.kql')
    windowSize: 'PT10M'
    aggregation: 'Maximum'
    threshold: fleetMaxChunks
    groups: ['notify']
    severity: 2
  }
  {
    name: 'saturated'
    description: 'All slots were taken for 15 minutes while chunks waited.'
    query: loadTextContent('kql/saturated.kql')
    windowSize: 'PT15M'
    aggregation: 'Count'
    threshold: 0
    groups: ['notify']
    severity: 3
  }
  {
    name: 'temp'
    description: 'The temp space of an instance is nearly full; it is swept, and no chunk starts for 15 minutes.'
    query: loadTextContent('kql/temp.kql')
    windowSize: 'PT5M'
    aggregation: 'Maximum'
    threshold: tempThresholdMb
    groups: ['storage', 'notify']
    severity: 1
    byInstance: true
  }
  {
    name: 'temp-lasting'
    description: 'The temp space of an instance is still nearly full: sweeping did not help.'
    query: loadTextContent('kql/temp.kql')
    windowSize: 'PT5M'
    aggregation: 'Maximum'
    threshold: tempThresholdMb
    groups: ['oncall']
    severity: 0
    byInstance: true
    periods: 4
  }
  {
    name: 'failed'
    description: 'More than five chunks failed for good within ten minutes.'
    query: loadTextContent('kql/failed.kql')
    windowSize: 'PT10M'
    aggregation: 'Total'
    threshold: 5
    groups: ['oncall']
    severity: 1
  }
  {
    name: 'failed-lasting'
    description: 'Chunks go on failing.'
    query: loadTextContent('kql/failed.kql')
    windowSize: 'PT10M'
    aggregation: 'Total'
    threshold: 5
    groups: ['manager']
    severity: 0
    periods: 3
  }
  {
    name: 'silent'
    description: 'No health check was heard of for 15 minutes.'
    query: loadTextContent('kql/silent.kql')
    windowSize: 'PT15M'
    aggregation: 'Count'
    threshold: 0
    groups: ['oncall']
    severity: 1
  }
  {
    name: 'rejected'
    description: 'A message came that can never work.'
    query: loadTextContent('kql/rejected.kql')
    windowSize: 'PT15M'
    aggregation: 'Total'
    threshold: 0
    groups: ['notify']
    severity: 2
  }
]

var serverRules = [
  {
    name: 'database-storage'
    description: 'The disk of the database is more than 80 % full.'
    metric: 'storage_percent'
    threshold: 80
  }
  {
    name: 'database-connections'
    description: 'The database has fewer than 20 % of its connections left.'
    metric: 'active_connections'
    threshold: userConnections * 8 / 10
  }
]

var relayDefinitions = {
  none: {}
  slack: loadJsonContent('logic/relay-slack.json')
  teams: loadJsonContent('logic/relay-teams.json')
}

resource remediation 'Microsoft.Logic/workflows@2019-05-01' existing = {
  name: remediationName
}

resource relayWorkflow 'Microsoft.Logic/workflows@2019-05-01' = if (relay != 'none') {
  name: relayName
  location: location
  tags: tags
  properties: {
    state: 'Enabled'
    definition: relayDefinitions[relay]
    parameters: {
      relayUrl: { value: relayUrl }
    }
  }
}

// One person may get mail and be pushed to: a receiver's name is unique in its group.
resource notify 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'notify'
  location: 'Global'
  tags: tags
  properties: {
    groupShortName: 'pix-notify'
    enabled: true
    emailReceivers: [
      for address in notifyEmails: {
        name: 'email-${address}'
        emailAddress: address
        useCommonAlertSchema: true
      }
    ]
    azureAppPushReceivers: [
      for address in pushEmails: {
        name: 'push-${address}'
        emailAddress: address
      }
    ]
    logicAppReceivers: relay == 'none'
      ? []
      : [
          {
            name: relay
            resourceId: relayWorkflow.id
            callbackUrl: listCallbackUrl('${relayWorkflow.id}/triggers/alert', '2019-05-01').value
            useCommonAlertSchema: true
          }
        ]
  }
}

resource storage 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'storage'
  location: 'Global'
  tags: tags
  properties: {
    groupShortName: 'pix-storage'
    enabled: true
    smsReceivers: [
      for receiver in smsReceivers: {
        name: '${receiver.countryCode}-${receiver.phoneNumber}'
        countryCode: receiver.countryCode
        phoneNumber: receiver.phoneNumber
      }
    ]
    logicAppReceivers: [
      {
        name: 'remediation'
        resourceId: remediation.id
        callbackUrl: listCallbackUrl('${remediation.id}/triggers/alert', '2019-05-01').value
        useCommonAlertSchema: true
      }
    ]
  }
}

resource oncall 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'oncall'
  location: 'Global'
  tags: tags
  properties: {
    groupShortName: 'pix-oncall'
    enabled: true
    webhookReceivers: onCallEnabled
      ? [
          {
            name: 'on-call'
            serviceUri: onCallUrl
            useCommonAlertSchema: true
          }
        ]
      : []
  }
}

resource manager 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'manager'
  location: 'Global'
  tags: tags
  properties: {
    groupShortName: 'pix-manager'
    enabled: true
    emailReceivers: [
      for address in managerEmails: {
        name: 'email-${address}'
        emailAddress: address
        useCommonAlertSchema: true
      }
    ]
  }
}

var groupIds = {
  notify: notify.id
  storage: storage.id
  oncall: oncall.id
  manager: manager.id
}

resource rules 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for rule in logRules: {
    name: rule.name
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: rule.name
      description: rule.description
      enabled: true
      severity: rule.severity
      scopes: [componentId]
      targetResourceTypes: ['microsoft.insights/components']
      evaluationFrequency: 'PT5M'
      windowSize: rule.windowSize
      autoMitigate: true
      criteria: {
        allOf: [
          {
            query: rule.query
            timeAggregation: rule.aggregation
            metricMeasureColumn: rule.aggregation == 'Count' ? null : 'valueSum'
            dimensions: (rule.?byInstance ?? false)
              ? [{ name: 'cloud_RoleInstance', operator: 'Include', values: ['*'] }]
              : []
            operator: 'GreaterThan'
            threshold: rule.threshold
            failingPeriods: {
              numberOfEvaluationPeriods: rule.?periods ?? 1
              minFailingPeriodsToAlert: rule.?periods ?? 1
            }
          }
        ]
      }
      actions: {
        actionGroups: map(rule.groups, name => groupIds[name])
      }
    }
  }
]

resource database 'Microsoft.Insights/metricAlerts@2026-01-01' = [
  for rule in serverRules: {
    name: rule.name
    location: 'global'
    tags: tags
    properties: {
      description: rule.description
      enabled: true
      severity: 2
      scopes: [serverId]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT15M'
      autoMitigate: true
      criteria: {
        'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
        allOf: [
          {
            criterionType: 'StaticThresholdCriterion'
            name: rule.metric
            metricNamespace: 'Microsoft.DBforPostgreSQL/flexibleServers'
            metricName: rule.metric
            timeAggregation: 'Maximum'
            operator: 'GreaterThan'
            threshold: rule.threshold
          }
        ]
      }
      actions: [{ actionGroupId: notify.id }]
    }
  }
]
