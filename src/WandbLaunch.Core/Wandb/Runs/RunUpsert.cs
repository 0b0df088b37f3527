using WandbLaunch.Foundation;

namespace WandbLaunch.Wandb;

/// <summary>What upsertBucket is given; null leaves a field as it is.</summary>
internal sealed record RunUpsert(string Id, string Entity, string Project)
{
    internal string? DisplayName { get; init; }
    internal string? Group { get; init; }
    internal string? Notes { get; init; }
    internal string? Commit { get; init; }
    internal string? Config { get; init; }
    internal string? Host { get; init; }
    internal string? Program { get; init; }
    internal string? Repo { get; init; }
    internal string? JobType { get; init; }
    internal string? State { get; init; }
    internal string? Sweep { get; init; }
    internal IReadOnlyList<string>? Tags { get; init; }
    internal string? Summary { get; init; }

    /// <summary>Makes the run, or changes it, and gives its name.</summary>
    internal async Task<string> SendAsync(GraphQLTransport transport, CancellationToken token)
    {
        const string Query = """
            mutation UpsertBucket($name: String, $project: String, $entity: String, $groupName: String, $displayName: String, $notes: String,
              $commit: String, $config: JSONString, $host: String, $program: String, $repo: String, $jobType: String, $state: String, $sweep: String,
              $tags: [String!], $summaryMetrics: JSONString) {
              upsertBucket(input: {name: $name, modelName: $project, entityName: $entity, groupName: $groupName, displayName: $displayName, notes: $notes,
                commit: $commit, config: $config, host: $host, jobProgram: $program, jobRepo: $repo, jobType: $jobType, state: $state, sweep: $sweep,
                tags: $tags, summaryMetrics: $summaryMetrics}) {
                bucket { id name displayName description config sweepName project { id name entity { id name } } } inserted } }
            """;
        var data = await transport.QueryAsync(
            "UpsertBucket",
            Query,
            new
            {
                name = Id,
                project = Project,
                entity = Entity,
                groupName = Group,
                displayName = DisplayName,
                notes = Notes,
                commit = Commit,
                config = Config,
                host = Host,
                program = Program,
                repo = Repo,
                jobType = JobType,
                state = State,
                sweep = Sweep,
                tags = Tags,
                summaryMetrics = Summary,
            },
            token
        );
        return data.Text("upsertBucket", "bucket", "name")
            ?? throw new LaunchException(
                "ServerAnswerInvalid",
                LaunchErrorCategory.ProtocolError,
                $"The server did not make the run {Id}.",
                Id
            );
    }
}
