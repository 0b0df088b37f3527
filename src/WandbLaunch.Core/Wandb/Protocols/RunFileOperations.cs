using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Wandb;

/// <summary>Files of a run that are announced before they are sent (protocol B.6).</summary>
internal sealed class RunFileOperations(GraphQLTransport transport, ServerDialect dialect)
{
    internal Task<RunUploads> CreateAsync(RunPath run, IReadOnlyList<string> names, CancellationToken token) =>
        dialect.Mutations.Contains("createRunFiles") ? MakeAsync(run, names, token) : FindAsync(run, names, token);

    private async Task<RunUploads> MakeAsync(RunPath run, IReadOnlyList<string> names, CancellationToken token)
    {
        var data = await transport.QueryAsync(
            "CreateRunFiles",
            """
            mutation CreateRunFiles($entity: String!, $project: String!, $run: String!, $files: [String!]!) {
              createRunFiles(input: {entityName: $entity, projectName: $project, runName: $run, files: $files}) {
                runID
                uploadHeaders
                files { name uploadUrl }
              }
            }
            """,
            new
            {
                entity = run.Entity,
                project = run.Project,
                run = run.Id,
                files = names,
            },
            token
        );
        return new RunUploads(
            [.. data.Items("createRunFiles", "uploadHeaders").Select(h => h.ToString())],
            [.. data.Items("createRunFiles", "files").Select(f => (f.Text("name")!, f.Text("uploadUrl")!))]
        );
    }

    // The way of 2022: a run's files are there for the asking.
    private async Task<RunUploads> FindAsync(RunPath run, IReadOnlyList<string> names, CancellationToken token)
    {
        var data = await transport.QueryAsync(
            "RunUploadUrls",
            """
            query RunUploadUrls(
              $name: String!
              $files: [String]!
              $entity: String
              $run: String!
              $description: String
            ) {
              model(name: $name, entityName: $entity) {
                bucket(name: $run, desc: $description) {
                  id
                  files(names: $files) { uploadHeaders edges { node { name url(upload: true) updatedAt } } }
                }
              }
            }
            """,
            new
            {
                name = run.Project,
                entity = run.Entity,
                run = run.Id,
                files = names,
            },
            token
        );
        return new RunUploads(
            [.. data.Items("model", "bucket", "files", "uploadHeaders").Select(h => h.ToString())],
            [
                .. data.Items("model", "bucket", "files", "edges")
                    .Select(e => (e.Text("node", "name")!, e.Text("node", "url")!)),
            ]
        );
    }
}
