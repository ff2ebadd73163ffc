"""The GraphQL queries to a Dagster webserver. Only fields that Dagster 1.10 has too."""

from __future__ import annotations

from typing import Final

_RUN: Final = """
fragment RunParts on Run {
  runId
  jobName
  status
  tags { key value }
  runConfig
  startTime
  endTime
}
"""

JOBS: Final = """
query MetaflowJobs {
  repositoriesOrError {
    __typename
    ... on RepositoryConnection {
      nodes {
        name
        location { name }
        pipelines {
          name
          tags { key value }
          solids { name inputs { definition { name } } }
          solidHandles { handleID }
        }
      }
    }
    ... on PythonError { message }
  }
  workspaceOrError {
    __typename
    ... on Workspace {
      locationEntries { name locationOrLoadError { __typename ... on PythonError { message } } }
    }
  }
}
"""

RUN: Final = (
    """
query MetaflowRun($runId: ID!) {
  runOrError(runId: $runId) {
    __typename
    ... on Run { ...RunParts }
    ... on PythonError { message }
  }
}
"""
    + _RUN
)

RUNS: Final = (
    """
query MetaflowRuns($filter: RunsFilter!, $limit: Int!) {
  runsOrError(filter: $filter, limit: $limit) {
    __typename
    ... on Runs { results { ...RunParts } }
    ... on InvalidPipelineRunsFilterError { message }
    ... on PythonError { message }
  }
}
"""
    + _RUN
)

EVENTS: Final = """
query MetaflowEvents($runId: ID!, $cursor: String) {
  logsForRun(runId: $runId, afterCursor: $cursor) {
    __typename
    ... on EventConnection {
      cursor
      events {
        __typename
        ... on MessageEvent { stepKey message }
        ... on ExecutionStepOutputEvent {
          metadataEntries { label ... on IntMetadataEntry { intValue } }
        }
        ... on ExecutionStepFailureEvent {
          failureMetadata { description }
        }
        ... on ErrorEvent {
          error { message className causes { message className } }
        }
      }
    }
    ... on RunNotFoundError { message }
    ... on PythonError { message }
  }
}
"""

CONFIG: Final = """
query MetaflowConfig($selector: PipelineSelector!) {
  runConfigSchemaOrError(selector: $selector) {
    __typename
    ... on RunConfigSchema {
      rootConfigType { key }
      allConfigTypes {
        key
        ... on CompositeConfigType { fields { name configTypeKey isRequired } }
      }
    }
    ... on PythonError { message }
  }
}
"""

PARTITIONED_ASSET: Final = """
query MetaflowPartitionedAsset($key: AssetKeyInput!) {
  assetNodes(assetKeys: [$key]) {
    repository { name location { name } }
    partitionDefinition { dimensionTypes { name dynamicPartitionsDefinitionName } }
    partitionKeysByDimension { name partitionKeys }
  }
}
"""

ADD_PARTITION: Final = """
mutation MetaflowAddPartition($selector: RepositorySelector!, $name: String!, $key: String!) {
  changed: addDynamicPartition(
    repositorySelector: $selector, partitionsDefName: $name, partitionKey: $key
  ) {
    __typename ... on PythonError { message } ... on UnauthorizedError { message }
  }
}
"""

PARTITION_RUNS: Final = (
    """
query MetaflowPartitionRuns($filter: RunsFilter!, $limit: Int!, $cursor: String) {
  runsOrError(filter: $filter, limit: $limit, cursor: $cursor) {
    __typename
    ... on Runs { results { ...RunParts } }
    ... on PythonError { message }
  }
}
"""
    + _RUN
)

LAUNCH_BACKFILL: Final = """
mutation MetaflowBackfill($backfillParams: LaunchBackfillParams!) {
  launched: launchPartitionBackfill(backfillParams: $backfillParams) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on Error { message }
  }
}
"""

BACKFILL: Final = """
query MetaflowBackfill($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    __typename
    ... on PartitionBackfill { status error { message } }
    ... on Error { message }
  }
}
"""

AUTOMATIONS: Final = """
query MetaflowAutomations($selector: RepositorySelector!) {
  repositoryOrError(repositorySelector: $selector) {
    __typename
    ... on Repository {
      schedules { name pipelineName scheduleState { id status } }
      sensors { name targets { pipelineName } sensorState { id status } }
    }
    ... on PythonError { message }
  }
}
"""

START_SCHEDULE: Final = """
mutation MetaflowStart($selector: ScheduleSelector!) {
  changed: startSchedule(scheduleSelector: $selector) {
    __typename ... on PythonError { message } ... on UnauthorizedError { message }
  }
}
"""

STOP_SCHEDULE: Final = """
mutation MetaflowStop($id: String) {
  changed: stopRunningSchedule(id: $id) {
    __typename ... on PythonError { message } ... on UnauthorizedError { message }
  }
}
"""

START_SENSOR: Final = """
mutation MetaflowStart($selector: SensorSelector!) {
  changed: startSensor(sensorSelector: $selector) {
    __typename ... on PythonError { message } ... on UnauthorizedError { message }
  }
}
"""

STOP_SENSOR: Final = """
mutation MetaflowStop($id: String) {
  changed: stopSensor(id: $id) {
    __typename ... on PythonError { message } ... on UnauthorizedError { message }
  }
}
"""
