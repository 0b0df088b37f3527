using GraphQL;
using WandbLaunch.Server.Data;
using WandbLaunch.Server.Endpoints;

namespace WandbLaunch.Server.Schema;

/// <summary>Files of runs. The SDK sends no key to the addresses that it is given for them: they carry a signature of their own (as W&amp;B's do), for one method, path and day.</summary>
internal sealed class RunFileFields(RunRepository runs, FileRepository files) : ISchemaPart
{
    public void AddTo(SchemaFields fields)
    {
        fields.Set("Run", "fileCount", c => files.Count(c.Of<RunRecord>().Id));
        fields.Set("Run", "files", Files);

        // Asked for an upload, the address is signed for one.
        fields.Set(
            "File",
            "url",
            c =>
                ((Row)c.Source!).GetValueOrDefault("directUrl") is string
                && c.GetArgument("upload", false)
                && ((Row)c.Source!).Record is RunRecord run
                    ? FileUrl(c, run, (string)((Row)c.Source!)["name"]!, "PUT")
                    : ((Row)c.Source!).GetValueOrDefault("directUrl")
        );
        fields.Mutation(
            "createRunFiles",
            (c, input) =>
            {
                var run =
                    runs.Find(input.Text("entityName"), input.Text("projectName"), input.Text("runName")!)
                    ?? throw new ServerFault("There is no such run.");
                return new Row
                {
                    ["runID"] = Ids.Run(run.Name, run.Project.Name, run.Project.Entity),
                    ["uploadHeaders"] = FileEndpoints.UploadHeaders,
                    ["files"] = ((IEnumerable<object?>)input["files"]!)
                        .Select(f => new Row
                        {
                            ["name"] = f!.ToString(),
                            ["uploadUrl"] = FileUrl(c, run, f.ToString()!, "PUT"),
                        })
                        .ToArray(),
                };
            }
        );
        fields.Mutation("markRunFilesUploaded", (c, _) => c.Done(true));
        fields.Mutation(
            "deleteFiles",
            (_, input) =>
            {
                foreach (var id in ((IEnumerable<object?>)input["files"]!).Select(f => f!.ToString()!))
                {
                    if (id.Split('/', 2) is not [var run, var file])
                    {
                        throw new ServerFault($"\"{JsonLimits.Short(id)}\" is no id of a file.");
                    }

                    files.Delete(Ids.Parse(run), file);
                }

                return new Row { ["success"] = true };
            }
        );
    }

    private Row Files(IResolveFieldContext c)
    {
        var run = c.Of<RunRecord>();
        var names = c.GetArgument<string[]?>("names") is { Length: > 0 } given ? given : null;
        var (found, more) = files.Page(
            run.Id,
            names,
            c.GetArgument<string?>("pattern"),
            c.GetArgument<string?>("after"),
            c.First(1000)
        );
        var there = found.ToDictionary(f => f.Name, f => Rows.Of(f, run), StringComparer.Ordinal);

        // Asked by name, a file that does not exist is listed without updatedAt (protocol K 11).
        var listed = (names ?? found.Select(f => f.Name))
            .Select(n => there.GetValueOrDefault(n) ?? new Row { Record = run, ["name"] = n })
            .ToList();
        foreach (var row in listed)
        {
            row["directUrl"] = FileUrl(c, run, (string)row["name"]!, "GET");
        }

        var connection = Row.Connection(listed, r => (string)r["name"]!, more);
        connection["uploadHeaders"] = FileEndpoints.UploadHeaders;
        return connection;
    }

    private static string FileUrl(IResolveFieldContext c, RunRecord run, string name, string method) =>
        c.SignedUrl(
            method,
            "/files/"
                + string.Join(
                    '/',
                    new[] { run.Project.Entity, run.Project.Name, run.Name }
                        .Concat(name.Split('/'))
                        .Select(Uri.EscapeDataString)
                )
        );
}
